"""Which augmentations a run uses."""

import dataclasses
import math
from typing import Literal

MAGNITUDES = 31  # of RandAugment, 0 to 30
_CROPS = ("resized", "shifted", "none")


@dataclasses.dataclass(frozen=True)
class Augment:
    """What is done to training images, in this order.

    Raises:
      ValueError: a value out of range; the message names the field.
    """

    crop: Literal["resized", "shifted", "none"] = "resized"
    """How a view is cut out: "resized" (a box of random area and aspect ratio, resized), "shifted"
    (the central crop, moved by up to an eighth of its side, black beyond it) or "none" (the central
    crop)."""
    crop_scale_min: float = 0.08
    """Smallest area of a resized crop, as a share of the image's."""
    flip: bool = True
    """Mirror half of the images."""
    rand_augment: bool = False
    """Apply random operations of colour and geometry."""
    rand_augment_ops: int = 2
    """How many to each image."""
    rand_augment_magnitude: int = 9
    """Their strength, 0..30."""
    rand_augment_random_magnitude: bool = False
    """Draw each strength from 0 to `rand_augment_magnitude`, as in the strong views of
    semi-supervised training."""
    random_erasing: float = 0.0
    """Probability of erasing a box."""
    cutmix: float = 0.0
    """Alpha of CutMix; 0 turns it off."""
    mixup: float = 0.0
    """Alpha of mixup; 0 turns it off. With both on each batch gets one of them, with equal
    chance."""

    def __post_init__(self) -> None:
        self._check("crop", self.crop in _CROPS, f"one of {', '.join(map(repr, _CROPS))}")
        self._check("crop_scale_min", 0 < self.crop_scale_min <= 1, "more than 0 and at most 1")
        self._check("rand_augment_ops", self.rand_augment_ops >= 1, "at least 1")
        in_range = 0 <= self.rand_augment_magnitude < MAGNITUDES
        self._check("rand_augment_magnitude", in_range, f"from 0 to {MAGNITUDES - 1}")
        self._check("random_erasing", 0 <= self.random_erasing <= 1, "a probability, 0 to 1")
        for name in ("cutmix", "mixup"):
            alpha = getattr(self, name)
            self._check(name, 0 <= alpha < math.inf, "0 (off) or a positive number")

    def _check(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)!r}")
