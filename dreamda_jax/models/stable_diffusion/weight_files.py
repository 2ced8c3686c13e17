"""Which weight file of a network is taken, of all that a checkpoint has beside its config.

Names are those that diffusers and transformers write: `STEM.safetensors`, or an index and shards;
with a variant `STEM.fp16.safetensors`, or an index in either library's spelling.

    unet/diffusion_pytorch_model.non_ema.safetensors
    unet/diffusion_pytorch_model.safetensors.index.fp16.json    its shards:
    unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from dreamda_jax.errors import UserError
from dreamda_jax.models.weights.shards import PICKLED_SUFFIXES

NETWORKS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
"""The parts that have weights, and what their files' names begin with."""

_MSGPACK = {
    "unet": "diffusion_flax_model.msgpack",
    "vae": "diffusion_flax_model.msgpack",
    "text_encoder": "flax_model.msgpack",
}
_SHARD = "-?????-of-?????"


class Choice(NamedTuple):
    """What was found of every network.

    Attributes:
      files: the weights, or the index of sharded ones, by network.
      absent: what there is none of.
      pickled: files of networks that have no other weights.
      notes: what a person should hear of it.
    """

    files: dict[str, str]
    absent: list[str]
    pickled: list[str]
    notes: list[str]


def choose_weights(names: set[str], *, variant: str | None, where: str) -> Choice:
    """Picks one weight file of each network.

    With a variant: that one, and of a network that has none of it what is taken without. Without:
    the plain `.safetensors`, the index of plain shards, the only variant there is, Flax msgpack.

    Args:
      names: of all files, with the network's folder.
      variant: such as "fp16" or "non_ema".
      where: the checkpoint, for messages.

    Raises:
      UserError: no network has the variant, or a network has several and no plain weights; the
        message lists those there are.
    """
    found = {network: _variants(names, network) for network in NETWORKS}
    if variant is not None and not any(variant in variants for variants in found.values()):
        raise UserError(
            f"{where}: no weights of variant {variant!r}. There are: {_listed(found)}. "
            "Give one of these as model.variant, or leave it out for the plain ones."
        )
    choice = Choice({}, [], [], [])
    alone: dict[str, list[str]] = {}
    for network, variants in found.items():
        taken = variant if variant in variants else None
        if taken is None and None not in variants and variants:
            if len(variants) > 1:
                raise UserError(
                    f"{where}: {network} has no plain weights, but several variants: "
                    f"{_listed({network: variants})}. Say which: --config.model.variant="
                    f"{sorted(map(str, variants))[0]}"
                )
            (taken,) = variants
            alone.setdefault(str(taken), []).append(network)
        elif taken is None and variant is not None and variants:
            choice.notes.append(
                f"{network} has no variant {variant!r}: its plain weights are taken"
            )
        msgpack, pickles = f"{network}/{_MSGPACK[network]}", _pickles(names, network)
        if taken in variants:
            choice.files[network] = variants[taken]
        elif msgpack in names:
            choice.files[network] = msgpack
        elif pickles:
            choice.pickled.append(pickles[0])
        else:
            choice.absent.append(f"{network}/*.safetensors")
    choice.notes.extend(
        f"no plain weights of {', '.join(networks)}: the only variant, {name}, is taken"
        for name, networks in alone.items()
    )
    return choice


def download_patterns(files: Iterable[str]) -> list[str]:
    """Globs of these files, and of the shards of those that are an index."""
    patterns = []
    for name in files:
        patterns.append(name)
        if not name.endswith(".json"):
            continue
        stem, _, ending = name.partition(".safetensors.index")
        variant = ending.removesuffix("json").strip(".")
        if "." in stem:  # the other spelling: STEM.fp16.safetensors.index.json
            stem, _, variant = stem.partition(".")
        if variant:
            patterns.append(f"{stem}.{variant}{_SHARD}.safetensors")
            patterns.append(f"{stem}{_SHARD}.{variant}.safetensors")  # diffusers reads these too
        else:
            patterns.append(f"{stem}{_SHARD}.safetensors")
    return patterns


def patterns_of_all(variant: str | None) -> list[str]:
    """Globs of whatever weights a repository may have that cannot be looked at.

    With a variant its files and the plain ones, which a network without it has.
    """
    patterns = []
    for network, stem in NETWORKS.items():
        start = f"{network}/{stem}"
        if variant is None:
            patterns.append(f"{start}*.safetensors")
        else:
            patterns += [f"{start}.safetensors", f"{start}-*.safetensors"]
            patterns.append(f"{start}.{variant}*.safetensors")
    return patterns


def _variants(names: set[str], network: str) -> dict[str | None, str]:
    """The file of each variant, None being the plain weights; one file rather than shards."""
    stem = re.escape(f"{network}/{NETWORKS[network]}")
    found: dict[str | None, str] = {}
    for pattern in (
        rf"{stem}(?:\.(\w+))?\.safetensors",
        rf"{stem}\.safetensors\.index(?:\.(\w+))?\.json",
        rf"{stem}\.(\w+)\.safetensors\.index\.json",
    ):
        for name in sorted(names):
            if matched := re.fullmatch(pattern, name):
                found.setdefault(matched[1], name)
    return found


def _listed(found: dict[str, dict[str | None, str]]) -> str:
    lines = [
        f"{', '.join(sorted(name or 'plain' for name in variants))} ({network})"
        for network, variants in found.items()
        if variants
    ]
    return "; ".join(lines) if lines else "none"


def _pickles(names: set[str], network: str) -> list[str]:
    return sorted(n for n in names if n.startswith(f"{network}/") and n.endswith(PICKLED_SUFFIXES))
