"""The image sets of a training as a plan sees them: their sizes are enough."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dreamda_jax.data import sources
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.errors import UserError
from dreamda_jax.options.classifier import TrainingData
from dreamda_jax.plan import stand_ins
from dreamda_jax.train.held_out import HeldOut
from dreamda_jax.train.identity import Contents
from dreamda_jax.train.images import ConfiguredImages, SyntheticSet


class PlannedImages:
    """`train.images.Images` with stand-ins for sets that are not here; reads no image.

    Args:
      config: the whole configuration.
      num_images: real training images, if the set is not to be opened.
      num_classes: of them.

    Raises:
      UserError: the real set is neither here nor well known, and no size was given.
    """

    def __init__(
        self, config: Mapping[str, Any], *, num_images: int | None, num_classes: int | None
    ) -> None:
        self._config = config
        opened = stand_ins.open_images(
            config["source"], num_images=num_images, num_classes=num_classes
        )
        self._real: sources.Source = opened.value
        self.assumed = list(opened.assumed)

    def real(self) -> sources.Source:
        """See `Images`."""
        return self._real

    def synthetic(self, data: TrainingData, *, label_names: Sequence[str] | None) -> SyntheticSet:
        """Where they are not made yet, as many as `generate` would make."""
        directory = Path(data.synthetic or self._config["output"]["path"])
        try:
            return SyntheticSet(SyntheticSource(directory, expansion=data.expansion), directory)
        except UserError:
            count = len(self._real) * self._config["synthesis"]["num_variants"]
            self.assumed.append(f"{count:,} synthetic images: {directory} is not here yet")
            names = self._real.label_names
            return SyntheticSet(stand_ins.StandIn("synthetic", count, len(names)), directory)

    def unlabelled(
        self, label_names: Sequence[str], *, test: sources.Source | None
    ) -> sources.Source:
        """Those that the configuration names."""
        return ConfiguredImages(self._config).unlabelled(label_names, test=test)

    def held_out(
        self, label_names: tuple[str, ...], *, real: sources.Source | None
    ) -> tuple[HeldOut, list[str]]:
        """None: a plan does not count what is measured."""
        return HeldOut(validation=None, test=None), []

    def contents(self, sets: Mapping[str, sources.Source | None]) -> Contents:
        """Nothing: a plan is not taken up again."""
        return Contents(sets={}, digests={})
