"""Section `evaluate` as checked values."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """What is measured, in which features, and what else the report shows."""

    output: str | None = None
    """Directory of the report; None: `<synthetic>_report`."""
    cache: str = "runs/features"
    """Directory of the features; it may serve any number of reports."""
    extractor: str = "inception"
    """Whose features: "inception", "clip", "sample" (the packaged classifier of the embedded
    sample) or the directory of a classifier that `train` saved."""
    inception_weights: str | None = None
    """The FID network as a safetensors file."""
    resize: Literal["clean", "legacy"] = "clean"
    """How images become Inception's 299 pixels: "clean" (antialiased, as clean-fid) or "legacy" (as
    torch-fidelity and TensorFlow)."""
    clip: bool = True
    """Measure CMMD and CLIP score too, with the CLIP of section `clip`."""
    num_neighbours: int = 5
    """k of precision, recall, density and coverage."""
    kid_subsets: int = 100
    """Random subsets that KID is the mean of."""
    kid_subset_size: int = 1000
    """Images in each, at most as many as the smaller set has."""
    max_hamming: int = 8
    """Bits of 64 in which the hashes of a copy may differ."""
    max_thumbnail_ratio: float = 0.3
    """How near a copy's thumbnail is, in parts of the median distance between a real image and its
    nearest real neighbour."""
    max_feature_ratio: float = 0.2
    """Likewise of features."""
    classifiers: str = ""
    """Output directories of `train`, separated by commas, for the accuracy table and the label
    audit; the first is compared with."""
    gallery_seeds: int = 3
    """Seed images shown of each class."""
    gallery_variants: int = 8
    """Variants shown of each of them."""
    batch_size: int = 64
    """Images through a network at once, on each device."""
    seed: int = 0
    """Of KID's subsets and of the intervals."""

    def __post_init__(self) -> None:
        for name in ("num_neighbours", "kid_subsets", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kid_subset_size < 2:
            raise ValueError(f"kid_subset_size must be at least 2, got {self.kid_subset_size}")
        ratios = ("max_thumbnail_ratio", "max_feature_ratio")
        for name in ("gallery_seeds", "gallery_variants", *ratios):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.max_hamming <= 64:
            raise ValueError(f"max_hamming must be in [0, 64], got {self.max_hamming}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2^32), got {self.seed}")
