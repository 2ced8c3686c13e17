"""One digest of the files a network was read from."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_CHUNK = 1 << 20


def file_digest(files: Iterable[Path]) -> str:
    """Sha256 (hex) of files' bytes, one after the other; of a single file its own sha256."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
