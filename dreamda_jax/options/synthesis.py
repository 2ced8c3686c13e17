"""Sections "image", "synthesis", "output", "loader": how much is made, in which portions, where."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Image:
    """How seed images become squares."""

    resolution: int = 512
    """Side in pixels."""
    crop: Literal["center", "squash"] = "center"
    """How a square is cut: "center" (short side to size, then cut) or "squash" (both sides to
    size)."""


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """How much to make, and in which portions."""

    num_variants: int = 10
    """Synthetic images per seed image: the expansion."""
    max_seeds: int = 0
    """Take only so many seed images, evenly spread over the set; 0 takes all."""
    seed: int = 0
    """Of every random draw."""
    seeds_per_device: int = 1
    """Seed images per call of the program on one device."""
    seeds_per_shard: int = 8
    """Seed images whose variants share an output file, the unit of resumption."""

    def __post_init__(self) -> None:
        for name in ("num_variants", "seeds_per_device", "seeds_per_shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seeds_per_shard % self.seeds_per_device:
            raise ValueError(
                f"seeds_per_shard={self.seeds_per_shard} must be a multiple of "
                f"seeds_per_device={self.seeds_per_device}"
            )
        if self.max_seeds < 0:
            raise ValueError(f"max_seeds must be 0 (all) or more, got {self.max_seeds}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2^32), got {self.seed}")


@dataclasses.dataclass(frozen=True)
class Output:
    """Where the synthetic set goes."""

    path: str = "runs/expanded"
    """A new directory, or one that an interrupted run of the same configuration made."""
    format: Literal["png", "jpeg"] = "png"
    """Of the images."""
    quality: int = 95
    """1 to 95, of JPEG."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise ValueError(f"quality must be in [1, 95], got {self.quality}")


@dataclasses.dataclass(frozen=True)
class Loader:
    """How seed images are read; changes no output."""

    num_workers: int = 4
    """Worker processes that decode; 0 decodes in threads of the main process."""

    def __post_init__(self) -> None:
        if self.num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {self.num_workers}")
