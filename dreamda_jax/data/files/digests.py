"""Checksums: of a file, of bytes, of the files that a network was read from."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Sha256 of a file's bytes, hexadecimal.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(data: bytes) -> str:
    """Sha256 (hex) of bytes in memory."""
    return hashlib.sha256(data).hexdigest()


def file_digest(files: Iterable[Path]) -> str:
    """Sha256 (hex) of files' bytes, one after the other; of a single file its own sha256."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
