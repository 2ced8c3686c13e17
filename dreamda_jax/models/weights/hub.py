"""What can go wrong between here and the Hugging Face hub, in words a person can act on."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamda_jax.data.files import json_text
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.errors import UserError

_PAGE = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<id>[\w.-]+/[\w.-]+)"
    r"(?:/(?:tree|blob|resolve)/(?!main(?:/|$))(?P<ref>[^/?#]+))?"
)


def fetch(
    download: Callable[[], Path],
    repo_id: str,
    *,
    revision: str | None,
    by_hand: str,
    cached: Callable[[], Path | None] = lambda: None,
) -> Path:
    """`download()`, or what `cached()` finds if the hub cannot be reached.

    Args:
        download: raises huggingface_hub's errors; a UserError of its own passes unchanged.
        repo_id: such as "timm/resnet50.tv_in1k".
        revision: branch, tag or commit.
        by_hand: the commands that bring the files here from another machine.
        cached: what is on this machine already, complete, or None.

    Raises:
        UserError: no such model or revision, a licence to accept, or no network.
    """
    # Imported here: local weights need nothing of it.
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # It logs every attempt at a connection; what matters of it is in the message below.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return download()
    except UserError:
        raise
    except GatedRepoError as error:
        raise UserError(
            f"{repo_id}: its owner asks for a licence to be accepted first. Accept it at "
            f"https://huggingface.co/{repo_id}, run `hf auth login`, then\n{by_hand}"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{repo_id}: the hub has no revision {revision!r}.") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{repo_id}: no such file or directory here, and no such model on the Hugging Face hub "
            "(or it is private: run `hf auth login`). For local weights give their path."
        ) from error
    except Exception as error:  # whatever the HTTP library of the day raises: no network
        found = cached()
        if found is not None:
            return found
        raise UserError(
            f"{repo_id}: not on this machine, and the Hugging Face hub cannot be reached "
            f"({type(error).__name__}). On a machine with network run\n{by_hand}"
        ) from error


def fetch_snapshot(
    repo_id: str,
    *,
    revision: str | None,
    patterns: Callable[[set[str]], list[str]],
    list_files: Callable[[Path], set[str]],
    by_hand: str,
) -> Path:
    """The directory of a model's files, from the hub or, if that cannot be reached, its cache.

    Args:
        repo_id: such as "openai/clip-vit-base-patch16".
        revision: branch, tag or commit.
        patterns: of the names in the model, those to download; a UserError if some are lacking.
        list_files: the names in a directory.
        by_hand: the commands that bring the files here from another machine.

    Raises:
        UserError: as `fetch`, and what `patterns` raises.
    """

    def download() -> Path:
        # Imported here: a local checkpoint needs nothing of it.
        from huggingface_hub import list_repo_files, snapshot_download

        wanted = patterns(set(list_repo_files(repo_id, revision=revision)))
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=wanted))

    def cached() -> Path | None:
        from huggingface_hub import snapshot_download

        try:
            directory = Path(snapshot_download(repo_id, revision=revision, local_files_only=True))
            patterns(list_files(directory))
        except Exception:  # not in the cache, or only parts of it
            return None
        return directory

    return fetch(download, repo_id, revision=revision, by_hand=by_hand, cached=cached)


def refuse_web_address(path: str, *, field: str) -> None:
    """Refuses a model's page on the hub in the place of its id.

    Args:
        path: as given.
        field: of the configuration.

    Raises:
        UserError: it is one; the message has the id.
    """
    page = _PAGE.match(path)
    if page is not None:
        also = f" --config.{field.split('.')[0]}.revision={page['ref']}" if page["ref"] else ""
        raise UserError(
            f"{path}: the address of a page. Give the model's id: --config.{field}={page['id']}"
            f"{also}"
        )


def snapshot_in(directory: Path, *, revision: str | None = None) -> Path:
    """The snapshot in a model's folder of the hub's cache; any other directory as it is.

    That folder, models--org--name, has `snapshots/COMMIT` with the files and `refs/main` with the
    commit.

    Raises:
        UserError: it has no such snapshot; the message lists those there are.
    """
    snapshots = directory / "snapshots"
    if not directory.name.startswith("models--") or not snapshots.is_dir():
        return directory
    there = sorted(each.name for each in snapshots.iterdir() if each.is_dir())
    wanted = revision or "main"
    ref = directory / "refs" / wanted
    commit = ref.read_text().strip() if ref.is_file() else wanted
    if commit in there:
        return snapshots / commit
    if revision is None and len(there) == 1:  # fetched by its commit alone
        return snapshots / there[0]
    raise UserError(
        f"{directory}: a folder of the Hugging Face cache without a snapshot of {wanted!r}. "
        f"Give the path of one: {', '.join(str(snapshots / name) for name in there) or 'none'}"
    )


def read_json(file: Path) -> dict[str, Any]:
    """Read a config file; UserError where it is no JSON object."""
    try:
        config = json_text.parse(check_regular(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}).") from error
    if not isinstance(config, dict):
        raise UserError(f"{file}: holds no JSON object.")
    return config
