"""Names of the files of a synthetic data set, and which seed images belong to which shard.

DIR/<name>-<split>.array_record-00003-of-00025    the records of a shard
DIR/done/<name>-<split>-00003-of-00025.json       its done marker
"""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Names of the files of one data set, and which seed images belong to which shard."""

    directory: Path
    name: str
    num_shards: int
    num_seeds: int
    seeds_per_shard: int
    split: str = "train"

    def __post_init__(self) -> None:
        for value in (self.name, self.split):
            if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
                raise ValueError(f"TFDS names are lower case, digits and _, got {value!r}")
        if self.num_seeds < 1 or self.seeds_per_shard < 1:
            raise ValueError("num_seeds and seeds_per_shard must be at least 1")
        if self.num_shards != -(-self.num_seeds // self.seeds_per_shard):
            raise ValueError(
                f"{self.num_seeds} seed images, {self.seeds_per_shard} a shard, do not make "
                f"{self.num_shards} shards"
            )

    @classmethod
    def for_seeds(
        cls, directory: Path, *, name: str, num_seeds: int, seeds_per_shard: int
    ) -> "Layout":
        """The layout of a new data set: as many shards as the seed images need.

        `name` may be any text: what TFDS does not take in a name becomes "_".
        """
        name = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        name = name if name[:1].isalpha() else f"data_{name}".rstrip("_")
        num_shards = -(-num_seeds // seeds_per_shard)
        return cls(Path(directory), name, num_shards, num_seeds, seeds_per_shard)

    def path(self, shard: int) -> Path:
        """The ArrayRecord file of a shard."""
        part = self._part(shard)
        return self.directory / f"{self.name}-{self.split}.array_record-{part}"

    def marker(self, shard: int) -> Path:
        """The done marker of a shard."""
        return self.directory / "done" / f"{self.name}-{self.split}-{self._part(shard)}.json"

    def shard_of(self, seed_id: int) -> int:
        """The shard of a seed image."""
        return seed_id // self.seeds_per_shard

    def seed_ids(self, shard: int) -> range:
        """The seed images of a shard; the last shard may have fewer."""
        self._part(shard)
        first = shard * self.seeds_per_shard
        return range(first, min(first + self.seeds_per_shard, self.num_seeds))

    def _part(self, shard: int) -> str:
        if not 0 <= shard < self.num_shards:
            raise ValueError(f"shard {shard} of {self.num_shards}")
        return f"{shard:05d}-of-{self.num_shards:05d}"
