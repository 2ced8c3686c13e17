"""What variants are made under: embeddings of prompts, or such as were learnt of images."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from dreamda_jax.data.loader import Seed
from dreamda_jax.data.prompts import ChoosePrompt
from dreamda_jax.errors import UserError
from dreamda_jax.synthesis.embeddings import Embeddings


class Contexts(NamedTuple):
    """Of a batch, on the host.

    Attributes:
      of_seeds: by seed image id, [n, l, d].
      source: of what the seed images show, [l, d].
      empty: what guidance leads away from, [l, d].
    """

    of_seeds: dict[int, np.ndarray]
    source: np.ndarray
    empty: np.ndarray


class Conditions(Protocol):
    """Where the engine has contexts from."""

    def request(self, seeds: Sequence[Seed]) -> None:
        """Begins with what a later batch will need; returns at once."""

    def get(self, seeds: Sequence[Seed]) -> Contexts:
        """The contexts of a batch."""

    def text(self, seed: Seed, variant: int) -> str:
        """What a record says of a variant's context."""


class Prompts:
    """Contexts from prompts: each is encoded once, ahead of the batch that needs it.

    Args:
      embeddings: of prompts.
      choose_prompt: the prompt of a variant.
      source_prompt: what the seed images show.
      num_variants: n.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        choose_prompt: ChoosePrompt,
        *,
        source_prompt: str,
        num_variants: int,
    ) -> None:
        self._embeddings, self._choose = embeddings, choose_prompt
        self._source, self._num_variants = source_prompt, num_variants

    def request(self, seeds: Sequence[Seed]) -> None:
        """Starts encoding the prompts of these seeds."""
        self._embeddings.request(self._prompts(seeds))

    def get(self, seeds: Sequence[Seed]) -> Contexts:
        """Their embeddings; waits for those on their way."""
        found = self._embeddings.get(self._prompts(seeds))
        of_seeds = {
            seed.index: np.stack([found[prompt] for prompt in self._of(seed)]) for seed in seeds
        }
        return Contexts(of_seeds, found[self._source], found[""])

    def text(self, seed: Seed, variant: int) -> str:
        """The prompt itself."""
        return self._choose(seed, variant)

    def _of(self, seed: Seed) -> list[str]:
        return [self._choose(seed, variant) for variant in range(self._num_variants)]

    def _prompts(self, seeds: Sequence[Seed]) -> list[str]:
        return ["", self._source, *(prompt for seed in seeds for prompt in self._of(seed))]


class LearnedEmbeddings:
    """Contexts from embeddings that were learnt of the seed images (Diffusion Inversion).

    A variant's is that of its seed, moved a little towards that of another image of the class. The
    neighbours of a seed's variants are all different where the class has enough images, in an order
    that the seed's key decides. Guidance leads away from the mean of all.

    Args:
      embeddings: of all seed images, float32 [seeds, l, d]; not numbers where there is none.
      labels: of all seed images, [seeds].
      keys: of all seed images, uint32 [seeds, 2].
      interpolation: in [0, 1], how far an embedding is moved.
      num_variants: n.
    """

    def __init__(
        self,
        embeddings: np.ndarray,
        labels: np.ndarray,
        keys: np.ndarray,
        *,
        interpolation: float,
        num_variants: int,
    ) -> None:
        self._embeddings, self._labels, self._keys = embeddings, labels, keys
        self._interpolation, self._num_variants = interpolation, num_variants
        self._usable = np.isfinite(embeddings).all(axis=(1, 2))
        total = embeddings[self._usable].sum(axis=0, dtype=np.float64)
        self._mean = (total / max(self._usable.sum(), 1)).astype(np.float32)

    def request(self, seeds: Sequence[Seed]) -> None:
        """Nothing: all are here."""

    def get(self, seeds: Sequence[Seed]) -> Contexts:
        """Interpolated embeddings."""
        of_seeds = {}
        for seed in seeds:
            if not self._usable[seed.index]:
                raise UserError(
                    f"{seed.name} could not be read when embeddings were learnt, and now it can. "
                    "Remove the directory learned/ of this run, and start it again"
                )
            own, others = self._embeddings[seed.index], self._embeddings[self._neighbours(seed)]
            of_seeds[seed.index] = own + np.float32(self._interpolation) * (others - own)
        return Contexts(of_seeds, self._mean, self._mean)

    def text(self, seed: Seed, variant: int) -> str:
        """Which image the variant was moved towards, by its id."""
        neighbour = self._neighbours(seed)[variant]
        return f"learnt of image {seed.index}, {self._interpolation:g} towards image {neighbour}"

    def _neighbours(self, seed: Seed) -> np.ndarray:
        """The image that each variant is moved towards; itself where it is alone in its class."""
        of_class = np.flatnonzero(self._usable & (self._labels == seed.label))
        others = of_class[of_class != seed.index]
        if len(others) == 0:
            return np.full(self._num_variants, seed.index)
        generator = np.random.default_rng([*map(int, self._keys[seed.index])])
        return np.resize(generator.permutation(others), self._num_variants)
