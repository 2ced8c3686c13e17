"""The files that weights lie in: one, or an index and its shards; pickles are refused."""

from collections.abc import Sequence
from pathlib import Path

from dreamda_jax.data.files import json_text
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.errors import UserError
from dreamda_jax.models.weights.names import some

PICKLED_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth")
SAFE_TRANSFORMERS = '"transformers>=5.10"'
"""For who converts: a foreign file can harm with older ones (CVE-2026-4372, CVE-2026-9856)."""


def weight_files(files: Sequence[Path]) -> list[Path]:
    """List the files behind some that may be indices of shards, see `shard_files`.

    Raises:
        UserError: one is pickled, or msgpack and not alone; as `shard_files`.
    """
    found = [shard for file in files for shard in shard_files(file)]
    for file in found:
        if file.suffix in PICKLED_SUFFIXES:
            raise pickled_weights(file)
    if len(found) > 1 and any(file.suffix == ".msgpack" for file in found):
        raise UserError(f"{found[0]}: one of several files, of which one is msgpack.")
    return found


def shard_files(file: Path) -> list[Path]:
    """List the files behind a `*.safetensors.index*.json`; any other file stands for itself.

    Raises:
        UserError: the index cannot be read, or a shard that it names is not there.
    """
    if file.suffix != ".json":
        return [file]
    try:
        index = json_text.parse(check_regular(file).read_text())
        names = sorted(set(index["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not a safetensors index ({error!r}).") from error
    outside = [name for name in names if Path(str(name)).name != name]
    if outside:
        raise UserError(f"{file}: names files that are not beside it: {some(outside)}.")
    shards = [file.parent / str(name) for name in names]
    absent = [shard.name for shard in shards if not check_regular(shard).is_file()]
    if absent:
        raise UserError(
            f"{file}: {len(absent)} of the {len(shards)} files it names are missing: "
            f"{some(absent)}. Download them into {file.parent}."
        )
    return shards


def pickled_weights(file: Path) -> UserError:
    """Build the error that refuses pickled weights and says how to convert them."""
    directory = file.parent.parent if file.parent.name else file.parent
    loader = (
        f'from_pretrained("{directory}", safety_checker=None)'
        if file.suffix == ".bin"
        else f'from_single_file("{file}")'
    )
    return UserError(
        f"{file}: pickled weights are refused, because unpickling runs code from the file. "
        "Convert the checkpoint once, in an environment with torch, diffusers and "
        f"{SAFE_TRANSFORMERS}:\n"
        "    from diffusers import StableDiffusionPipeline\n"
        f"    pipeline = StableDiffusionPipeline.{loader}\n"
        '    pipeline.save_pretrained("converted", safe_serialization=True)\n'
        "and use the new directory: --config.model.path=converted"
    )
