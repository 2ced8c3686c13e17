"""Which image stands at which place of an endless training stream, and which rows a host reads."""

import dataclasses
import fractions
import functools
from typing import NamedTuple

import numpy as np

_MAX_DENOMINATOR = 1_000_000


class Place(NamedTuple):
    """Where an image is."""

    synthetic: bool
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls here


@dataclasses.dataclass(frozen=True)
class StreamOrder:
    """An endless sequence of places with random access, a function of its attributes alone.

    Without a ratio both sets are shuffled together, anew each epoch, so that each image is seen
    once an epoch. With one, each set is shuffled for itself, anew each time it is through, and the
    synthetic images are spread evenly: of the first k images exactly floor(k·ratio) are synthetic.

    Grain's shuffle by index is not used: it takes time in inverse proportion to the set (5 ms an
    image for 10 images, 0.26 ms for 200; measured), where a permutation looked up takes none.

    Attributes:
      num_real: number of real images; may be 0 without a ratio.
      num_synthetic: number of synthetic images; likewise.
      synthetic_ratio: share of synthetic images in (0, 1), taken to six decimal places, or None.
      seed: any integer from 0.

    Raises:
      ValueError: a number outside of its range.
    """

    num_real: int
    num_synthetic: int
    synthetic_ratio: float | None
    seed: int

    def __post_init__(self) -> None:
        lengths = (self.num_real, self.num_synthetic)
        if min(lengths) < 0 or max(lengths) < 1 or self.seed < 0:
            raise ValueError(f"bad numbers of images {lengths} or seed {self.seed}")
        if self.synthetic_ratio is not None and not (min(lengths) and 0 < self._share < 1):
            raise ValueError(
                f"a synthetic_ratio is in (0, 1) and needs images of both kinds, got "
                f"{self.synthetic_ratio} of {lengths}"
            )

    def __getitem__(self, position: int) -> Place:
        if self.synthetic_ratio is None:
            index = self._shuffled(position, self.num_real + self.num_synthetic, 0)
            synthetic = index >= self.num_real
            return Place(synthetic, index - self.num_real * synthetic)
        before, after = self._synthetic_among(position), self._synthetic_among(position + 1)
        if after > before:
            return Place(True, self._shuffled(before, self.num_synthetic, 1))
        return Place(False, self._shuffled(position - before, self.num_real, 0))

    @property
    def epoch_length(self) -> int:
        """Images of one epoch: all of both sets or, with a ratio, as many as show every real one.

        That is ceil(num_real / (1 - ratio)).
        """
        if self.synthetic_ratio is None:
            return self.num_real + self.num_synthetic
        return -int(-self.num_real // (1 - self._share))

    @functools.cached_property
    def _share(self) -> fractions.Fraction:
        ratio = self.synthetic_ratio or 0.0
        return fractions.Fraction(ratio).limit_denominator(_MAX_DENOMINATOR)

    def _synthetic_among(self, count: int) -> int:
        return count * self._share.numerator // self._share.denominator

    def _shuffled(self, position: int, length: int, stream: int) -> int:
        epoch, index = divmod(position, length)
        return int(_permutation(length, (self.seed, stream, epoch))[index])


@functools.lru_cache(maxsize=8)  # batches of a few epochs at once, where a set is small
def _permutation(length: int, entropy: tuple[int, ...]) -> np.ndarray:
    """int64 [length]."""
    return np.random.default_rng(entropy).permutation(length)


def host_rows(batch_size: int, *, host_index: int, host_count: int) -> range:
    """The rows of every global batch that one of several hosts reads.

    Raises:
      ValueError: the batch does not divide by the number of hosts, or there is no such host.
    """
    if not 0 <= host_index < host_count:
        raise ValueError(f"host {host_index} of {host_count}")
    if batch_size < 1 or batch_size % host_count:
        raise ValueError(f"a batch of {batch_size} does not divide by {host_count} hosts")
    rows = batch_size // host_count
    return range(host_index * rows, (host_index + 1) * rows)
