"""One directory of an object store (gs://, s3://, whatever fsspec knows): its few safe operations.

An object appears whole or not at all, so an upload needs no temporary name; what it needs are new
attempts, and a look at what arrived.
"""

import contextlib
import functools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from dreamda_jax.data.files import atomic
from dreamda_jax.data.files.fetched import Object, version_of
from dreamda_jax.errors import UserError

_ATTEMPTS = 4
_FIRST_WAIT_SECONDS = 0.5
_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3"}
_T = TypeVar("_T")


def is_remote(path: object) -> bool:
    """Whether a path names an object store: "gs://bucket/run"."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(path)) is not None


class ObjectStore:
    """A directory of a store.

    Args:
      url: of the directory; what it is called there does not end in "/".

    Raises:
      UserError: the package for this kind of store is not installed, or it is of no known kind.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        kind = url.partition("://")[0].lower()
        try:
            # A listing that is kept would not show what other hosts have written since.
            self._fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            extra = _EXTRAS.get(kind)
            how = f"pip install 'dreamda-jax[{extra}]'" if extra else str(error)
            raise UserError(f"{url}: the package for {kind}:// is not installed: {how}") from error
        except ValueError as error:
            raise UserError(f"{url}: no object store is known as {kind}:// ({error})") from error
        self._root = str(self._root).rstrip("/")

    def list(self) -> dict[str, Object]:
        """Every object below the directory, by its name in it; {} where there is none.

        It may be behind: an object written by another host may be missing for a while.

        Raises:
          UserError: the store cannot be reached, or refuses; or a name leads out of the directory.
        """

        def find() -> dict[str, Object]:
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
            cut = len(self._root) + 1
            for name in found:
                if ".." in name[cut:].split("/"):
                    raise UserError(
                        f"{self.url} holds an object called {name[cut:]!r}, which leads out of it. "
                        "Remove that object."
                    )
            return {
                name[cut:]: Object(int(entry["size"] or 0), version_of(entry))
                for name, entry in found.items()
                if entry.get("type", "file") == "file"  # below file:// there may be pipes
            }

        return self._attempt("listed", "", find)

    def object(self, name: str) -> Object | None:
        """An object, asked for itself and not from a listing; None: there is none.

        Raises:
          UserError: the store cannot be reached, or refuses.
        """

        def info() -> Object | None:
            self._fs.invalidate_cache()
            try:
                found = self._fs.info(self._at(name))
            except FileNotFoundError:
                return None
            if found.get("type", "file") != "file":
                return None
            return Object(int(found["size"] or 0), version_of(found))

        return self._attempt("looked at", name, info)

    def get(self, name: str, local: Path) -> bool:
        """Downloads an object, which then appears whole; False: there is none.

        Raises:
          UserError: the store cannot be reached or refuses, or the disk is full.
        """

        def download() -> bool:
            local.parent.mkdir(parents=True, exist_ok=True)
            with atomic.temporary(local) as scratch:
                try:
                    self._fs.get_file(self._at(name), str(scratch))
                except FileNotFoundError:
                    return False
                atomic.replace_durably(scratch, local)
            return True

        return self._attempt("downloaded", name, download)

    def put(self, local: Path, name: str) -> Object:
        """Uploads a file, replacing an object of that name, and returns what is there then.

        Raises:
          FileNotFoundError: the file is gone.
          UserError: the store cannot be reached, refuses, or keeps another number of bytes.
        """

        def upload() -> Object:
            expected = local.stat().st_size
            self._fs.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(local), self._at(name))
            found = self.object(name)
            # A file that grows meanwhile, such as a log, arrives as it was or a little longer.
            if found is None or found.size < expected:
                arrived = 0 if found is None else found.size
                raise OSError(f"{expected:,} bytes were sent and {arrived:,} arrived")
            return found

        return self._attempt("uploaded", name, upload)

    def remove(self, name: str) -> None:
        """Removes an object; it may be gone already.

        Raises:
          UserError: the store cannot be reached, or refuses.
        """

        def delete() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(self._at(name))

        self._attempt("removed", name, delete)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _attempt(self, done: str, name: str, action: Callable[[], _T]) -> _T:
        where = f"{self.url}/{name}".rstrip("/")
        for attempt in range(_ATTEMPTS):
            try:
                with atomic.disk_full_is_a_user_error(Path(), needed=0):
                    return action()
            except (UserError, FileNotFoundError):
                raise
            except Exception as error:  # each client raises its own kinds
                if attempt == _ATTEMPTS - 1 or _is_final(error):
                    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                    raise UserError(
                        f"{where} could not be {done}: {reason}. Check the address, your "
                        "credentials and the network, and run the same command again: it continues."
                    ) from error
                time.sleep(_FIRST_WAIT_SECONDS * 2**attempt)
        raise AssertionError("every attempt returns or raises")


def _is_final(error: Exception) -> bool:
    """Whether another attempt would fail the same way."""
    status: Any = getattr(error, "code", None) or getattr(error, "status", None)
    return isinstance(error, PermissionError) or status in (401, 403, "401", "403")


@functools.cache
def open_store(url: str) -> ObjectStore:
    """The store of an address, one for each."""
    return ObjectStore(url)
