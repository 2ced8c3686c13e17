"""A progress bar with images/s and time left; plain lines where the output is not a terminal."""

import sys
import time
from typing import TextIO

import tqdm

from dreamda_jax.runtime.readable import readable_rate, until_clock

_LINE_EVERY_SECONDS = 10.0
_MEASURED_SECONDS = 30.0
_HOUR = 3600.0


class Progress:
    """Counts finished images.

    The rate leaves out what an earlier run had done. It runs from the first `add`, whose images it
    leaves out too, because the time until then is mostly compilation.

    Args:
      total: images of the whole job.
      done: of them, already dealt with by an earlier run.
      skipped: of those, what could not be made.
      stream: where to write; default standard error.
      unit: what is counted, in the singular.
      hint_for_long: said once if, after the first half minute, more than an hour is left.
    """

    def __init__(
        self,
        total: int,
        done: int = 0,
        stream: TextIO | None = None,
        *,
        skipped: int = 0,
        unit: str = "image",
        hint_for_long: str | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        self._total, self._done, self._unit, self._note = total, done, unit, ""
        self._skipped = skipped
        self._hint = hint_for_long
        self._start: tuple[float, int] | None = None  # time and count that the rate runs from
        self._last_line = self._last_add = time.monotonic()
        self._bar = None
        if self._stream.isatty():
            self._bar = tqdm.tqdm(
                total=total,
                initial=done - skipped,
                unit=unit,
                file=self._stream,
                dynamic_ncols=True,
            )

    def add(self, images: int, note: str = "") -> None:
        """Counts `images` more as dealt with; those of them that were skipped: see `skip`.

        Args:
          images: how many.
          note: shown until the next one, such as "loss 0.412, accuracy 91.2%".
        """
        self._done += images
        self._note = note or self._note
        is_first = self._start is None
        now = self._last_add = time.monotonic()
        if self._start is None:
            self._start = (now, self._done)
        if self._bar is not None:
            self._show_in_bar(self._bar, images, is_first=is_first)
        elif now - self._last_line >= _LINE_EVERY_SECONDS or self._done >= self._total:
            self._last_line = now
            print(self._line(), file=self._stream, flush=True)

        self._warn(now)

    def skip(self, images: int) -> None:
        """Of those that are counted, or are with the next `add`, so many more were not made."""
        self._skipped += images
        if self._bar is not None:
            self._bar.n -= images
            self._bar.last_print_n -= images

    @property
    def seconds_each(self) -> float | None:
        """Of a unit, since the first `add`; None before the second."""
        if self._start is None or self._done <= self._start[1]:
            return None
        return max(self._last_add - self._start[0], 1e-9) / (self._done - self._start[1])

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def _show_in_bar(self, bar: tqdm.tqdm, images: int, *, is_first: bool) -> None:
        bar.set_postfix_str(
            ", ".join([*self._left_out(), *self._until(), *self._said()]), refresh=False
        )
        if is_first:
            # tqdm's rate counts from `initial` and from the time that `unpause` sets to now.
            bar.initial = bar.n = bar.last_print_n = self._done - self._skipped
            bar.unpause()
            bar.refresh()
        else:
            bar.update(images)

    def _line(self) -> str:
        parts = [f"{self._done - self._skipped}/{self._total} {self._unit}s", *self._left_out()]
        each = self.seconds_each
        if each is not None:
            left = tqdm.tqdm.format_interval((self._total - self._done) * each)
            parts += [readable_rate(1 / each, self._unit), f"{left} left", *self._until()]
        return ", ".join([*parts, *self._said()])

    def _warn(self, now: float) -> None:
        each = self.seconds_each
        if self._hint is None or each is None or self._start is None:
            return
        if now - self._start[0] < _MEASURED_SECONDS:
            return
        if (self._total - self._done) * each > _HOUR:
            tqdm.tqdm.write(f"warning: {self._hint}", file=self._stream)
        self._hint = None

    def _until(self) -> list[str]:
        """When the last one will be done, at the rate so far."""
        each, left = self.seconds_each, self._total - self._done
        return [until_clock(left * each)] if each is not None and left > 0 else []

    def _left_out(self) -> list[str]:
        return [f"{self._skipped} skipped"] if self._skipped else []

    def _said(self) -> list[str]:
        return [self._note] if self._note else []
