"""A progress bar with images/s and time left; plain lines where the output is not a terminal."""

import sys
import time
from typing import TextIO

import tqdm

_LINE_EVERY_SECONDS = 10.0


class Progress:
    """Counts finished images. The rate leaves out what an earlier run had done.

    Args:
      total: images of the whole job.
      done: of them, already there from an earlier run.
      stream: where to write; default standard error.
    """

    def __init__(self, total: int, done: int = 0, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._total, self._first, self._done = total, done, done
        self._start = self._last_line = time.monotonic()
        self._bar = None
        if self._stream.isatty():
            self._bar = tqdm.tqdm(
                total=total, initial=done, unit="image", file=self._stream, dynamic_ncols=True
            )

    def add(self, images: int) -> None:
        """Counts `images` more as finished."""
        self._done += images
        if self._bar is not None:
            self._bar.update(images)
            return
        now = time.monotonic()
        if now - self._last_line >= _LINE_EVERY_SECONDS or self._done >= self._total:
            self._last_line = now
            rate = (self._done - self._first) / max(now - self._start, 1e-9)
            left = tqdm.tqdm.format_interval((self._total - self._done) / max(rate, 1e-9))
            print(
                f"{self._done}/{self._total} images, {readable_rate(rate)}, {left} left",
                file=self._stream,
                flush=True,
            )

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def readable_rate(images_per_second: float) -> str:
    """Such as "12.34 images/s"; three digits of what is slow, as large images on a CPU are."""
    digits = ".2f" if images_per_second >= 0.1 else ".3g"
    return f"{images_per_second:{digits}} images/s"
