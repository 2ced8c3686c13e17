"""Everything a fine-tuning reads while it trains: frozen networks, latents, prompts."""

import contextlib
import functools
import threading
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dreamda_jax.data.files.digests import file_digest
from dreamda_jax.data.sources import Source
from dreamda_jax.errors import UserError
from dreamda_jax.finetune import inputs
from dreamda_jax.finetune.adaptation import Adaptation
from dreamda_jax.finetune.build import TrainingPrompts
from dreamda_jax.finetune.inputs import Latents
from dreamda_jax.finetune.programs import EMPTY
from dreamda_jax.finetune.vocabulary import Vocabulary
from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.models.stable_diffusion.checkpoint_files import CheckpointFiles
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.models.tokenizer import find_cut
from dreamda_jax.models.weights.shards import shard_files
from dreamda_jax.runtime import devices
from dreamda_jax.runtime.progress import Progress
from dreamda_jax.runtime.sweep import View
from dreamda_jax.types import Params


class Prepared(NamedTuple):
    """What the step and the pictures are handed.

    Attributes:
      start: the networks that training starts from or leaves as they are, by name, split over the
        devices.
      frozen: what the step is handed besides the state: networks by name, and `EMPTY`.
      vae: whole on every device.
      latents: of every image that can be decoded.
      prompts: for each of them the places of its prompts in `text`.
      class_prompts: for each class the place of its prompt.
      text: contexts float32 [p, l, d] or token ids int32 [p, l].
    """

    start: dict[str, Params]
    frozen: dict[str, Any]
    vae: Params
    latents: Latents
    prompts: list[list[int]]
    class_prompts: list[int]
    text: np.ndarray


def prepare(
    source: Source,
    model: StableDiffusion,
    files: CheckpointFiles,
    mesh: Mesh,
    *,
    adaptation: Adaptation,
    vocabulary: Vocabulary,
    prompts: TrainingPrompts,
    view: View,
    flip: bool,
    batch_size: int,
    cache: Path,
    stop: threading.Event,
) -> Prepared | None:
    """Loads the networks, computes latents and contexts or finds them in the cache.

    Args:
      source: the images.
      model: the networks to start from.
      files: theirs.
      mesh: the devices.
      adaptation: what is trained.
      vocabulary: what prompts are encoded with.
      prompts: of images and classes.
      view: how images are read.
      flip: whether mirror images are wanted.
      batch_size: of the training; a set that is smaller is spoken of.
      cache: of latents and contexts.
      stop: ends it; what is done is kept.

    Returns:
      None if `stop` was set.

    Raises:
      UserError: weights or images are missing or damaged, or the disk is full.
    """
    load = functools.partial(_load, model, files, mesh)
    digest = functools.partial(_digest, files, dtype=model.dtype)
    vae = load("vae", split=False)
    latents = inputs.compute_latents(
        source,
        model,
        {"vae": vae},
        mesh,
        digest=digest("vae"),
        view=view,
        flip=flip,
        cache=cache,
        stop=stop,
    )
    if latents is None:
        return None
    _check(source, latents, batch_size)
    _report_untrained(source, latents, vocabulary.tokens)
    examples = (source[int(place)] for place in latents.places)
    own = [prompts.choose.of_image(each.label, each.name, each.text) for each in examples]
    table = inputs.list_prompts([*own, *([prompt] for prompt in prompts.of_classes)])
    _report_cut(vocabulary.model, table.texts[1:])  # without the empty one
    with_tokens = adaptation.takes_token_ids
    text_encoder = load("text_encoder", split=False)
    texts = [""] if with_tokens else table.texts
    with contextlib.closing(Progress(len(texts), unit="prompt")) as progress:
        contexts = inputs.compute_contexts(
            texts,
            model,
            {"text_encoder": text_encoder},
            mesh,
            digest=digest("text_encoder"),
            cache=cache,
            report=progress.add,
        )
    trains_unet = "unet" not in adaptation.frozen
    dtype = jnp.float32 if trains_unet else model.dtype
    start = {"unet": load("unet", split=True, dtype=dtype)}
    if "text_encoder" in adaptation.frozen:
        start["text_encoder"] = text_encoder
    return Prepared(
        start=start,
        frozen={
            **{name: start[name] for name in adaptation.frozen},
            EMPTY: jnp.asarray(contexts[0], model.dtype),
        },
        vae=vae,
        latents=latents,
        prompts=table.of_image[: len(own)],
        class_prompts=[places[0] for places in table.of_image[len(own) :]],
        text=vocabulary.model.tokenize(table.texts) if with_tokens else contexts,
    )


def _load(
    model: StableDiffusion,
    files: CheckpointFiles,
    mesh: Mesh,
    name: str,
    *,
    split: bool,
    dtype: Any = None,
) -> Params:
    """A network, tensor by tensor; in the model's dtype if none is given."""

    def place(array: np.ndarray) -> jax.Array:
        whole = devices.replicated(mesh)
        return devices.place(array, devices.state_sharding(mesh, array) if split else whole)

    return loading.load_component(model, files, name, dtype=dtype or model.dtype, place=place)


def _digest(files: CheckpointFiles, name: str, *, dtype: Any) -> str:
    """Of a network's files and of the dtype it computes in; of the text encoder the tokenizer's."""
    component = getattr(files, name)
    read = [component.config, *shard_files(component.weights)]
    if name == "text_encoder":
        read += sorted(file for file in files.tokenizer.iterdir() if file.is_file())
    return inputs.digest_of(file_digest(read), jnp.dtype(dtype).name)


def _check(source: Source, latents: Latents, batch: int) -> None:
    count, total = len(latents.places), len(source)
    if not count:
        raise UserError(f"none of the {total:,} images of {source.name} can be decoded")
    if count < total:
        broken = sorted(set(range(total)) - set(latents.places.tolist()))
        named = ", ".join(source[place].name for place in broken[:3])
        more = ", …" if len(broken) > 3 else ""
        print(f"note        {len(broken):,} of {total:,} images cannot be decoded: {named}{more}")
    if count < batch:
        print(
            f"note        a batch of {batch:,} is larger than the set of {count:,} images: each is "
            "seen several times in a step, with different noise",
            flush=True,
        )


def _report_untrained(source: Source, latents: Latents, tokens: list[list[str]]) -> None:
    seen = {source[int(place)].label for place in latents.places} if tokens else set()
    for label, own in enumerate(tokens):
        if label not in seen:
            name = source.label_names[label]
            print(f"note        class {name!r} has no image: {own[0]} stays as it begins")


def _report_cut(model: StableDiffusion, texts: list[str]) -> None:
    length = model.num_tokens
    cut = find_cut(model.tokenizer, texts, length=length)
    if cut:
        print(
            f"note        {len(cut):,} of {len(texts):,} prompts are longer than the text "
            f"encoder's {length} tokens; what comes after that is cut off. The first: "
            f"{cut[0][:70]!r} …",
            flush=True,
        )
