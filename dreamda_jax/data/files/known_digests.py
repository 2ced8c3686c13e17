"""Digests of files that were read before: a second start reads none of them.

    ~/.cache/dreamda_jax/digests/3f0ae1….json    those of one directory's files

A digest is that of the bytes as long as the file's size, its times of change and its inode are the
same; a file that was changed just before it was read is read again, since another change in the
same tick of the clock would not be seen. `verify` reads all of them.
"""

import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from dreamda_jax.data.files import atomic
from dreamda_jax.data.files.digests import sha256_of

_TICK_NANOSECONDS = 2_000_000_000  # FAT counts in these


class KnownDigests:
    """What is known; to be saved when all files have been asked for. Threads may share it.

    Args:
      directory: where it is kept; None: the user's cache.
      verify: reads every file, whatever is known.
    """

    def __init__(self, directory: Path | None = None, *, verify: bool = False) -> None:
        self._directory = directory or _cache_directory()
        self._verify = verify
        self._held: dict[Path, dict[str, Any]] = {}
        self._changed: set[Path] = set()
        self._lock = threading.Lock()

    def sha256(self, path: Path) -> str:
        """Sha256 (hex) of a file's bytes.

        Raises:
          OSError: it cannot be read.
        """
        path = Path(os.path.abspath(path))
        status = path.stat()
        mark = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        of_folder = self._of(path.parent)
        known = of_folder.get(path.name)
        if not self._verify and isinstance(known, list) and known[:-1] == mark:
            return str(known[-1])
        began = time.time_ns()
        digest = sha256_of(path)
        settled = began - max(status.st_mtime_ns, status.st_ctime_ns) > _TICK_NANOSECONDS
        with self._lock:
            if settled:
                of_folder[path.name] = [*mark, digest]
                self._changed.add(path.parent)
            elif of_folder.pop(path.name, None) is not None:
                self._changed.add(path.parent)
        return digest

    def save(self) -> None:
        """Keeps what was found; where that cannot be written, the next start reads again."""
        with self._lock:
            changed, self._changed = self._changed, set()
        for folder in changed:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                content = {"folder": str(folder), "files": self._held[folder]}
                data = json.dumps(content).encode("utf-8", "surrogatepass")
                atomic.write_atomically(self._file(folder), data)
            except OSError:
                return

    def _of(self, folder: Path) -> dict[str, Any]:
        with self._lock:
            if folder not in self._held:
                self._held[folder] = self._read(folder)
            return self._held[folder]

    def _read(self, folder: Path) -> dict[str, Any]:
        try:
            content = json.loads(self._file(folder).read_bytes())
            files = content["files"] if content["folder"] == str(folder) else {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}
        return files if isinstance(files, dict) else {}

    def _file(self, folder: Path) -> Path:
        name = hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return self._directory / f"{name}.json"


def _cache_directory() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "dreamda_jax" / "digests"
