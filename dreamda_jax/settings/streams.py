"""The streams of a command: everything that it prints passes here."""

import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

from absl import logging

from dreamda_jax.printable import shown


class ShownStream:
    """A text stream whose text is masked and printable, and can be encoded.

    Args:
      stream: where it is written to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes text; returns its length."""
        # Progress is written over itself: "\r" belongs to us at either end and nowhere else.
        body = text.strip("\r")
        start = text[: len(text) - len(text.lstrip("\r"))]
        end = text[len(start) + len(body) :]
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        line = f"{start}{shown(body)}{end}"
        self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def show_only_printable() -> None:
    """From now on this process prints through `ShownStream`, tracebacks and logs too."""
    if not isinstance(sys.stdout, ShownStream):
        sys.stdout = cast(TextIO, ShownStream(sys.stdout))
        sys.stderr = cast(TextIO, ShownStream(sys.stderr))
        # absl took hold of the stream when it was imported.
        logging.get_absl_handler().python_handler.stream = sys.stderr
