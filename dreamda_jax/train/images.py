"""The image sets of a training: what its configuration names, opened and checked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dreamda_jax.data import sources
from dreamda_jax.data.content import Content
from dreamda_jax.data.files import staging
from dreamda_jax.data.sources import classes, unlabelled
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.errors import UserError
from dreamda_jax.options.classifier import TrainingData
from dreamda_jax.runtime import set_content
from dreamda_jax.train.held_out import HeldOut, held_out_sets, refuse_leaks
from dreamda_jax.train.identity import Contents


class SyntheticSet(NamedTuple):
    """Images that `generate` made, and the directory that they lie in."""

    source: sources.Source
    directory: Path


class Images(Protocol):
    """Where a training's images come from: what is on this machine, or what stands for it."""

    def real(self) -> sources.Source:
        """The labelled images of section "source"."""

    def synthetic(self, data: TrainingData, *, label_names: Sequence[str] | None) -> SyntheticSet:
        """The images that `generate` made.

        Args:
          data: section "data", which says where they are and how many variants count.
          label_names: classes that the labels are to be places of; None: their own.
        """

    def unlabelled(
        self, label_names: Sequence[str], *, test: sources.Source | None
    ) -> sources.Source:
        """The images without labels, which are not the test images."""

    def held_out(
        self, label_names: tuple[str, ...], *, real: sources.Source | None
    ) -> tuple[HeldOut, list[str]]:
        """The images to measure on; and warnings of those that are real training images too."""

    def contents(self, sets: Mapping[str, sources.Source | None]) -> Contents:
        """What sets are, by the names of their digests; None: there is no such set."""


class ConfiguredImages:
    """`Images` of a configuration, on this machine.

    Args:
      config: the whole configuration.
      verify: reads every file, whatever is known from an earlier start.

    Raises:
      UserError: by every method, where what a section names is not there or does not fit.
    """

    def __init__(self, config: Mapping[str, Any], *, verify: bool = False) -> None:
        self._config = config
        self._verify = verify

    def real(self) -> sources.Source:
        """See `Images`."""
        source = sources.open_source(**self._config["source"])
        classes.check_labels(source)
        return source

    def synthetic(self, data: TrainingData, *, label_names: Sequence[str] | None) -> SyntheticSet:
        """See `Images`."""
        directory = staging.local(data.synthetic or self._config["output"]["path"])
        try:
            source: sources.Source = SyntheticSource(directory, expansion=data.expansion)
        except UserError as error:
            field = (
                "data.synthetic" if data.synthetic else "output.path, as data.synthetic is unset"
            )
            raise UserError(f"{error} (The directory is that of {field}.)") from error
        if label_names is not None:
            source = classes.match_classes(
                label_names, source, what=f"the synthetic set {directory}"
            )
        return SyntheticSet(source, directory)

    def unlabelled(
        self, label_names: Sequence[str], *, test: sources.Source | None
    ) -> sources.Source:
        """See `Images`."""
        options = sources.overridden(self._config["source"], self._config.get("unlabelled", {}))
        if not options:
            raise UserError(
                "train.method=softmatch needs images without labels: give section unlabelled, such "
                "as --config.unlabelled.kind=folder --config.unlabelled.path=my_images (any "
                "folder) or, for a TFDS set, --config.unlabelled.split=unlabelled"
            )
        source = unlabelled.open_unlabelled(label_names, **options)
        if test is not None:
            shared = unlabelled.refuse_test_images(source, test, what="section unlabelled")
            if shared:
                print(
                    f"note        {shared:,} test images are among the unlabelled ones", flush=True
                )
        return source

    def held_out(
        self, label_names: tuple[str, ...], *, real: sources.Source | None
    ) -> tuple[HeldOut, list[str]]:
        """See `Images`."""
        found = held_out_sets(self._config, label_names)
        return found, refuse_leaks(real, found, verify=self._verify)

    def contents(self, sets: Mapping[str, sources.Source | None]) -> Contents:
        """See `Images`."""
        known: dict[str, tuple[sources.Source, Content | None]] = {}
        digests: dict[str, str] = {}
        for name, source in sets.items():
            if source is not None:
                content = set_content.content_of(
                    source, what=f"the images of section {name}", verify=self._verify
                )
                known[name] = (source, content)
                digests |= set_content.digests_of(
                    source, name=name, verify=self._verify, known=content
                )
        return Contents(known, digests)
