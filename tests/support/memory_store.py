"""An object store in memory (fsspec's), and one that fails as real ones do."""

from contextlib import contextmanager
from unittest import mock

import fsspec

from dreamda_jax.data.files import object_store

BUCKET = "memory://bucket/run"


def clear() -> None:
    fsspec.filesystem("memory").rm("/", recursive=True)
    object_store.open_store.cache_clear()


def objects(url: str = BUCKET) -> dict[str, bytes]:
    """Content of every object below an address."""
    fs, root = fsspec.core.url_to_fs(url)
    if not fs.exists(root):
        return {}
    return {name[len(root) + 1 :]: fs.cat_file(name) for name in fs.find(root)}


@contextmanager
def failing(operation: str, *, times: int, error: Exception | None = None, only: str = ""):
    """Of an operation ("put_file", "get_file", "find"), the first `times` calls fail half-way.

    An upload that fails leaves the first half of its bytes, which some stores would.
    """
    kind = type(fsspec.filesystem("memory"))
    real, left = getattr(kind, operation), [times]

    def call(self, first, *arguments, **options):
        if left[0] > 0 and only in f"{first} {arguments}":
            left[0] -= 1
            raise error or OSError("connection reset in the middle")
        return real(self, first, *arguments, **options)

    with (
        mock.patch.object(kind, operation, call),
        mock.patch.object(object_store, "_FIRST_WAIT_SECONDS", 0.001),
    ):
        yield left
