"""Find a CLIP checkpoint's files: a local directory or a hub id, in transformers' layout."""

import os
import re
from collections.abc import Set
from pathlib import Path
from typing import NamedTuple

from dreamda_jax.data.files import staging
from dreamda_jax.data.files.digests import file_digest
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.errors import UserError
from dreamda_jax.models.weights import hub
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.models.weights.shards import PICKLED_SUFFIXES, SAFE_TRANSFORMERS

LAYOUT = """\
    config.json, model.safetensors,
    vocab.json and merges.txt (or tokenizer.json), tokenizer_config.json,
    preprocessor_config.json (if its images are not normalised as OpenAI's)"""

_CONFIG = "config.json"
_PREPROCESSOR = "preprocessor_config.json"
_TOKENIZER = {"vocab.json", "merges.txt"}
_FAST_TOKENIZER = "tokenizer.json"
_SMALL = [
    *(_CONFIG, _PREPROCESSOR, _FAST_TOKENIZER, *sorted(_TOKENIZER)),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
]
# In the order of preference; load_weights reads each of them.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "flax_model.msgpack")
_SHARDS = "model-*-of-*.safetensors"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SAMPLE = Path(__file__).parents[2] / "sample" / "tiny_clip"


class ClipFiles(NamedTuple):
    """Where the parts of a CLIP checkpoint lie on this machine."""

    directory: Path  # the tokenizer's too
    config: Path
    weights: Path
    preprocessor: Path | None


def find_clip(path: str | os.PathLike[str], *, revision: str | None = None) -> ClipFiles:
    """Find, and for a hub id download, the files of a CLIP with both its towers.

    Args:
        path: a directory in transformers' layout, a hub id such as "openai/clip-vit-base-patch16",
            or "sample" for the packaged tiny CLIP. A directory of that name wins over the others.
        revision: branch, tag or commit on the hub; ignored for a directory.

    Raises:
        UserError: no such directory, another model, a part is missing, only pickled weights are
            there, or the hub cannot be reached or refuses.
    """
    directory = staging.local(path)
    if path == "sample" and not directory.exists():
        directory = _SAMPLE
    if not directory.is_dir():
        if directory.exists() or not _HUB_ID.fullmatch(str(path)):
            raise UserError(
                f"{path}: no such directory. Give a directory in transformers' layout:\n{LAYOUT}\n"
                "or a hub id such as openai/clip-vit-base-patch16."
            )
        directory = _download(str(path), revision=revision)
    for name in (*_SMALL, *_WEIGHTS):
        check_regular(directory / name)
    names = _list_directory(directory)
    if _CONFIG in names:
        _check_model_type(directory / _CONFIG)  # says more than what else such a directory lacks
    weights = _choose(names, where=str(directory))
    return ClipFiles(
        directory=directory,
        config=directory / _CONFIG,
        weights=directory / weights,
        preprocessor=directory / _PREPROCESSOR if _PREPROCESSOR in names else None,
    )


def digest(files: ClipFiles) -> str:
    """Sha256 (hex) of what an image's embedding depends on."""
    weights = [files.weights]
    if files.weights.suffix == ".json":
        weights += sorted(files.directory.glob(_SHARDS))
    preprocessor = [files.preprocessor] if files.preprocessor else []
    return file_digest([files.config, *preprocessor, *weights])


def _check_model_type(file: Path) -> None:
    found = read_json(file).get("model_type")
    if found != "clip":
        raise UserError(
            f"{file}: model_type={found!r} is not supported, only 'clip': a CLIP with both its "
            "image and its text encoder, such as openai/clip-vit-base-patch16."
        )


def _choose(names: Set[str], *, where: str) -> str:
    """Pick the weight file out of a directory's names; complain about all that is absent."""
    weights = [name for name in _WEIGHTS if name in names]
    pickled = sorted(name for name in names if name.endswith(PICKLED_SUFFIXES))
    absent = [] if _CONFIG in names else [_CONFIG]
    if _FAST_TOKENIZER not in names:
        absent += sorted(_TOKENIZER - names)
    if not weights and not pickled:
        absent.append(_WEIGHTS[0])
    if absent:
        raise UserError(
            f"{where}: not a complete CLIP checkpoint, it lacks {', '.join(absent)}. The layout "
            f"expected:\n{LAYOUT}"
        )
    if not weights:
        raise UserError(
            f"{where}/{pickled[0]}: pickled weights are refused, because unpickling runs code from "
            "the file. Convert the checkpoint once, in an environment with torch and "
            f"{SAFE_TRANSFORMERS}:\n"
            "    from transformers import CLIPModel, CLIPProcessor\n"
            f'    CLIPModel.from_pretrained("{where}").save_pretrained("converted")\n'
            f'    CLIPProcessor.from_pretrained("{where}").save_pretrained("converted")\n'
            "and use the new directory, converted."
        )
    return weights[0]


def _download(repo_id: str, *, revision: str | None) -> Path:
    """Download the needed files, or fall back on the local cache if the hub cannot be reached."""

    def patterns(names: set[str]) -> list[str]:
        weights = _choose(names, where=repo_id)
        return [*_SMALL, weights, *([_SHARDS] if weights.endswith(".json") else [])]

    return hub.fetch_snapshot(
        repo_id,
        revision=revision,
        patterns=patterns,
        list_files=_list_directory,
        by_hand=_by_hand(repo_id),
    )


def _list_directory(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir() if file.is_file()}


def _by_hand(repo_id: str) -> str:
    name = repo_id.rsplit("/", 1)[-1]
    return (
        f'    hf download {repo_id} --include "*.json" merges.txt "*.safetensors" '
        f"--local-dir {name}\n"
        f"copy the directory here and give its path, {name}, instead of the id."
    )
