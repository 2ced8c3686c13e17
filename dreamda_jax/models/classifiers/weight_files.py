"""Find a classifier's weights: a safetensors file, the directory of one, or a hub id."""

import os
import re
from pathlib import Path

from dreamda_jax.data.files import staging
from dreamda_jax.data.files.digests import file_digest
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.errors import UserError
from dreamda_jax.models.weights import hub
from dreamda_jax.models.weights.shards import PICKLED_SUFFIXES

CONFIG = "config.json"
WEIGHTS = "model.safetensors"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def find_weights(weights: str | os.PathLike[str], *, revision: str | None = None) -> Path:
    """Find, and for a hub id download, a safetensors file.

    Args:
        weights: a `.safetensors` file, a directory that holds `model.safetensors`, or a hub id such
            as "timm/resnet50.tv_in1k". A file or directory of that name wins over the hub.
        revision: branch, tag or commit on the hub; ignored for files.

    Raises:
        UserError: there is none, it is pickled, or the hub cannot be reached or refuses.
    """
    path = staging.local(weights)
    if path.is_dir():
        pickled = sorted(file for file in path.iterdir() if file.suffix in PICKLED_SUFFIXES)
        if check_regular(path / WEIGHTS).is_file():
            return path / WEIGHTS
        if pickled:
            raise _pickled(pickled[0])
        raise UserError(f"{path}: holds no {WEIGHTS}.")
    if path.suffix in PICKLED_SUFFIXES:
        raise _pickled(path)
    if check_regular(path).is_file():
        return path
    if not is_hub_id(weights):
        raise UserError(
            f"{weights}: no such file. Give a .safetensors file, a directory that holds {WEIGHTS}, "
            "or a hub id such as timm/resnet50.tv_in1k."
        )
    return _download(str(weights), revision=revision)


def digest(directory: Path) -> str:
    """Sha256 (hex) of the files of a saved classifier.

    Raises:
        UserError: there are none.
    """
    return file_digest([directory / CONFIG, find_weights(directory)])


def is_hub_id(weights: str | os.PathLike[str]) -> bool:
    """Whether this names weights on the hub: it has that form, and nothing here has that name."""
    path = staging.local(weights)
    is_file = path.exists() or path.suffix in (".safetensors", *PICKLED_SUFFIXES)
    return not is_file and _HUB_ID.fullmatch(str(weights)) is not None


def _download(repo_id: str, *, revision: str | None) -> Path:
    """Download the weights, or take them from the local cache if the hub cannot be reached."""

    def download() -> Path:
        # Imported here: local weights need nothing of it.
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return Path(hf_hub_download(repo_id, WEIGHTS, revision=revision))
        except LocalEntryNotFoundError:  # says only that the hub was not reached
            raise
        except EntryNotFoundError as error:
            raise UserError(f"{repo_id}: the hub has no {WEIGHTS} in this model.") from error

    return hub.fetch(download, repo_id, revision=revision, by_hand=_by_hand(repo_id))


def _by_hand(repo_id: str) -> str:
    name = repo_id.rsplit("/", 1)[-1]
    return (
        f"    hf download {repo_id} {WEIGHTS} --local-dir {name}\n"
        f"copy the directory here and give its path, {name}, instead of the id."
    )


def _pickled(file: Path) -> UserError:
    new = file.with_suffix(".safetensors").name
    return UserError(
        f"{file}: pickled weights are refused, because unpickling runs code from the file. Convert "
        "them once, in an environment with torch:\n"
        "    import safetensors.torch, torch\n"
        f'    state_dict = torch.load("{file}", map_location="cpu", weights_only=True)\n'
        f'    safetensors.torch.save_file(state_dict, "{new}")\n'
        f"and use {new}."
    )
