"""Everything a fine-tuning reads while it trains: frozen networks, latents, prompts."""

import contextlib
import functools
import threading
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dreamda_jax.data.files import staging
from dreamda_jax.data.files.digests import file_digest
from dreamda_jax.errors import UserError
from dreamda_jax.finetune import inputs
from dreamda_jax.finetune.build import Finetuning
from dreamda_jax.finetune.inputs import Latents
from dreamda_jax.finetune.programs import EMPTY
from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.models.tokenizer import find_cut
from dreamda_jax.models.weights.shards import shard_files
from dreamda_jax.runtime import devices
from dreamda_jax.runtime.progress import Progress
from dreamda_jax.types import Params


class Prepared(NamedTuple):
    """What the step and the pictures are handed.

    Attributes:
      start: the networks that training starts from or leaves as they are, by name, split over the
        devices.
      vae: whole on every device.
      empty: context [l, d] of the empty prompt.
      latents: of every image that can be decoded.
      prompts: for each of them the places of its prompts in `text`.
      class_prompts: for each class the place of its prompt.
      text: contexts float32 [p, l, d] or token ids int32 [p, l].
    """

    start: dict[str, Params]
    vae: Params
    empty: np.ndarray
    latents: Latents
    prompts: list[list[int]]
    class_prompts: list[int]
    text: np.ndarray


def prepare(parts: Finetuning, mesh: Mesh, stop: threading.Event) -> Prepared | None:
    """Loads the networks, computes latents and contexts or finds them in the cache.

    Returns:
      None if `stop` was set.

    Raises:
      UserError: weights or images are missing or damaged, or the disk is full.
    """
    job, model = parts.job, parts.model
    load = functools.partial(_load, parts, mesh)
    vae = load("vae", split=False)
    latents = inputs.compute_latents(
        parts.source,
        model,
        {"vae": vae},
        mesh,
        digest=_digest(parts, "vae"),
        view=parts.view,
        flip=job.flip,
        cache=staging.local(job.cache),
        stop=stop,
    )
    if latents is None:
        return None
    _check(parts, latents)
    _report_untrained(parts, latents)
    examples = (parts.source[int(place)] for place in latents.places)
    own = [parts.choose_prompts.of_image(each.label, each.name, each.text) for each in examples]
    table = inputs.list_prompts([*own, *([prompt] for prompt in parts.class_prompts)])
    _report_cut(parts, table.texts[1:])  # without the empty one
    with_tokens = parts.adaptation.takes_token_ids
    text_encoder = load("text_encoder", split=False)
    texts = [""] if with_tokens else table.texts
    with contextlib.closing(Progress(len(texts), unit="prompt")) as progress:
        contexts = inputs.compute_contexts(
            texts,
            model,
            {"text_encoder": text_encoder},
            mesh,
            digest=_digest(parts, "text_encoder"),
            cache=staging.local(job.cache),
            report=progress.add,
        )
    start = {"unet": load("unet", split=True)}
    if "text_encoder" in parts.adaptation.frozen:
        start["text_encoder"] = text_encoder
    return Prepared(
        start=start,
        vae=vae,
        empty=contexts[0],
        latents=latents,
        prompts=table.of_image[: len(own)],
        class_prompts=[places[0] for places in table.of_image[len(own) :]],
        text=parts.text_model.tokenize(table.texts) if with_tokens else contexts,
    )


def frozen_parameters(parts: Finetuning, prepared: Prepared) -> dict[str, Any]:
    """What a step is handed besides the state."""
    frozen: dict[str, Any] = {name: prepared.start[name] for name in parts.adaptation.frozen}
    frozen[EMPTY] = jnp.asarray(prepared.empty, parts.model.dtype)
    return frozen


def _load(parts: Finetuning, mesh: Mesh, name: str, *, split: bool) -> Params:
    """A network, tensor by tensor; in float32 if it is what is trained."""

    def place(array: np.ndarray) -> jax.Array:
        whole = devices.replicated(mesh)
        return devices.place(array, devices.state_sharding(mesh, array) if split else whole)

    trained = name == "unet" and "unet" not in parts.adaptation.frozen
    dtype = jnp.float32 if trained else parts.model.dtype
    return loading.load_component(parts.model, parts.files, name, dtype=dtype, place=place)


def _digest(parts: Finetuning, name: str) -> str:
    """Of a network's files and of the dtype it computes in; of the text encoder the tokenizer's."""
    component = getattr(parts.files, name)
    files = [component.config, *shard_files(component.weights)]
    if name == "text_encoder":
        files += sorted(file for file in parts.files.tokenizer.iterdir() if file.is_file())
    return inputs.digest_of(file_digest(files), jnp.dtype(parts.model.dtype).name)


def _check(parts: Finetuning, latents: Latents) -> None:
    count, total, batch = len(latents.places), len(parts.source), parts.job.batch_size
    if not count:
        raise UserError(f"none of the {total:,} images of {parts.source.name} can be decoded")
    if count < total:
        broken = sorted(set(range(total)) - set(latents.places.tolist()))
        named = ", ".join(parts.source[place].name for place in broken[:3])
        more = ", …" if len(broken) > 3 else ""
        print(f"note        {len(broken):,} of {total:,} images cannot be decoded: {named}{more}")
    if count < batch:
        print(
            f"note        a batch of {batch:,} is larger than the set of {count:,} images: each is "
            "seen several times in a step, with different noise",
            flush=True,
        )


def _report_untrained(parts: Finetuning, latents: Latents) -> None:
    seen = {parts.source[int(place)].label for place in latents.places} if parts.tokens else set()
    for label, own in enumerate(parts.tokens):
        if label not in seen:
            name = parts.source.label_names[label]
            print(f"note        class {name!r} has no image: {own[0]} stays as it begins")


def _report_cut(parts: Finetuning, texts: list[str]) -> None:
    length = parts.text_model.num_tokens
    cut = find_cut(parts.text_model.tokenizer, texts, length=length)
    if cut:
        print(
            f"note        {len(cut):,} of {len(texts):,} prompts are longer than the text "
            f"encoder's {length} tokens; what comes after that is cut off. The first: "
            f"{cut[0][:70]!r} …",
            flush=True,
        )
