"""Features on the disk: one row per image, written in portions, read in blocks.

    CACHE/<name>-<key>/values.npy    [n, ...], the rows of images that could be decoded come first
    CACHE/<name>-<key>/places.npy    int64 [n], the place of each row's image in its set
    CACHE/<name>-<key>/progress.json how many images are done, how many of them have a row; of what
                                     is finished, checksums: a damaged store is made again
    CACHE/<name>-<key>/.lock         held by the one process that may write

The key is a digest of the images and of everything done to them, so the same images are never put
through the same network twice, whatever their folder is called.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamda_jax.data.files import atomic, json_text
from dreamda_jax.data.files.digests import sha256_of
from dreamda_jax.data.files.run_directory import free_bytes
from dreamda_jax.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: no lock; start only one process on a cache
    fcntl = None  # type: ignore[assignment]

_FILES = ("values.npy", "places.npy")


class Features(NamedTuple):
    """A finished store.

    Attributes:
      values: [m, ...] on the disk, one row for each image that can be decoded.
      places: int64 [m], ascending: where in its set a row's image is.
    """

    values: np.ndarray
    places: np.ndarray


class FeatureStore:
    """The rows of one set under one network, finished or to be gone on with.

    Args:
      cache: the directory of all stores; made if absent.
      name: of what the rows are, such as "inception".
      identity: digests and numbers that the rows depend on, those of the images included.
      num_images: n.
      shape: of a row.
      dtype: of a row.
      writes: whether this process writes. Of several that compute the same rows one does, and the
        others read when it has finished.

    Raises:
      UserError: the cache cannot be written, or the disk is full.
    """

    def __init__(
        self,
        cache: Path,
        name: str,
        identity: Sequence[Any],
        *,
        num_images: int,
        shape: tuple[int, ...],
        dtype: Any,
        writes: bool = True,
    ) -> None:
        key = hashlib.sha256(json.dumps([*identity, num_images]).encode()).hexdigest()[:20]
        self.name, self.num_images = name, num_images
        self._shape, self._dtype = (num_images, *shape), np.dtype(dtype)
        self._directory = cache / f"{name}-{key}"
        self.done, self._rows = self._read_progress()
        self._values: np.ndarray | None = None
        self._places: np.ndarray | None = None
        self._lock: Any = None
        self._writes = writes

    @property
    def finished(self) -> bool:
        """Whether every image has been seen."""
        return self.done == self.num_images

    def restart(self) -> None:
        """Forgets what is done."""
        self.done = self._rows = 0

    def append(self, values: np.ndarray, places: np.ndarray, *, done: int) -> None:
        """Adds rows.

        Args:
          values: [b, ...].
          places: int [b], of their images.
          done: so many images of the set have been seen now, those without a row included.
        """
        end = self._rows + len(values)
        if self._writes:
            if self._values is None or self._places is None:
                self._values, self._places = self._open_to_write()
            self._values[self._rows : end] = values
            self._places[self._rows : end] = places
        self._rows, self.done = end, done

    def save(self) -> None:
        """Makes what was added last: an interrupted run goes on from here."""
        if not self._writes:
            return
        for array in (self._values, self._places):
            if isinstance(array, np.memmap):
                array.flush()
        progress: dict[str, Any] = {"done": self.done, "rows": self._rows}
        if self.finished:
            progress["sha256"] = self._digests(self._rows)
        atomic.write_atomically(self._directory / "progress.json", atomic.to_json(progress))
        if self.finished and self._lock is not None:
            self._lock.close()

    def read(self) -> Features:
        """The rows, which stay on the disk until they are looked at.

        Raises:
          ValueError: the store is not finished.
          UserError: another process finished it where this one does not see it.
        """
        if not self.finished:
            raise ValueError(f"{self._directory}: {self.done} of {self.num_images} images are done")
        if not self._writes and self._read_progress() != (self.done, self._rows):
            raise UserError(
                f"The feature cache {self._directory.parent} is not the same directory on all "
                "hosts. Give one on a file system that they share, as --config.evaluate.cache or "
                "--config.finetune.cache."
            )
        if not self._rows:  # an empty memory map cannot be made
            return Features(np.zeros((0, *self._shape[1:]), self._dtype), np.zeros(0, np.int64))
        values, places = (self._open(name) for name in _FILES)
        return Features(values[: self._rows], np.array(places[: self._rows]))

    def _digests(self, rows: int) -> list[str]:
        return [sha256_of(self._directory / name) for name in _FILES] if rows else []

    def _read_progress(self) -> tuple[int, int]:
        """(images done, rows); nothing where the files are not what they should be."""
        try:
            progress = json_text.parse((self._directory / "progress.json").read_bytes())
            if progress["rows"]:
                shapes = (self._open("values.npy").shape, self._open("places.npy").shape)
                if shapes != (self._shape, self._shape[:1]):
                    return 0, 0
            done, rows = int(progress["done"]), int(progress["rows"])
            if done == self.num_images and progress["sha256"] != self._digests(rows):
                return 0, 0
            return done, rows
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 0

    def _open_to_write(self) -> tuple[np.ndarray, np.ndarray]:
        needed = int(np.prod(self._shape)) * self._dtype.itemsize + 8 * self.num_images
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"The feature cache {self._directory.parent} cannot be written "
                f"({error.strerror or error}). Give another one, as --config.evaluate.cache or "
                "--config.finetune.cache."
            ) from error
        self._claim()
        # The files are made with holes, and writing into a hole of a full disk kills the process.
        if not self._rows and needed > (free := free_bytes(self._directory)):
            raise UserError(
                f"The features take {needed:,} bytes in {self._directory.parent}, and {free:,} are "
                "free. Free some space or give another --config.evaluate.cache."
            )
        if self._rows:
            return self._open("values.npy", "r+"), self._open("places.npy", "r+")
        for name in _FILES:  # another process may still look at what is replaced
            (self._directory / name).unlink(missing_ok=True)
        make = np.lib.format.open_memmap
        values = make(self._directory / "values.npy", "w+", dtype=self._dtype, shape=self._shape)
        places = make(self._directory / "places.npy", "w+", dtype=np.int64, shape=self._shape[:1])
        return values, places

    def _claim(self) -> None:
        """Makes this the one process that writes here, until the store is finished or dropped."""
        if fcntl is None:
            return
        self._lock = (self._directory / ".lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = self._read_progress() == (self.done, self._rows)
        except BlockingIOError:
            free = False
        except OSError:  # some network file systems have no locks
            return
        if not free:
            raise UserError(
                f"Another process is computing the same features in {self._directory}. Wait for it "
                "and run the same command again, or give another --config.evaluate.cache or "
                "--config.finetune.cache."
            )

    def _open(self, name: str, mode: Any = "r") -> np.ndarray:
        return np.load(self._directory / name, mmap_mode=mode)
