"""The sets that a classifier is measured on, and that they are not those it is trained on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dreamda_jax.data import sources
from dreamda_jax.data.sources import classes, open_held_out
from dreamda_jax.errors import UserError
from dreamda_jax.runtime import set_content


class HeldOut(NamedTuple):
    """Images that no training sees.

    Attributes:
      validation: chooses the best weights, or None.
      test: is reported, or None.
    """

    validation: sources.Source | None
    test: sources.Source | None

    @property
    def measured_on(self) -> tuple[str, sources.Source]:
        """Name and images that accuracy is reported of: the test set where there is one.

        Raises:
          ValueError: there is neither.
        """
        for name, source in (("test", self.test), ("validation", self.validation)):
            if source is not None:
                return name, source
        raise ValueError("there is neither a test nor a validation set")


def held_out_sets(config: Mapping[str, Any], label_names: tuple[str, ...]) -> HeldOut:
    """The validation and the test set, of which one is there.

    Args:
      config: the whole configuration.
      label_names: the classes, in the order of the training set's labels.

    Raises:
      UserError: neither is given, one cannot be opened, or has a class of its own.
    """
    found: dict[str, sources.Source | None] = {}
    for name in ("validation", "test"):
        source = open_held_out(config, name)
        if source is not None:
            source = classes.match_classes(label_names, source, what=f"the {name} set")
        found[name] = source
    if not any(found.values()):
        raise UserError(
            "there is nothing to measure accuracy on: give section test (or validation) what "
            "differs from section source, such as --config.test.split=test or, for folders, "
            "--config.test.path=my_test_images"
        )
    return HeldOut(**found)


def refuse_leaks(
    trained_on: sources.Source | None,
    held_out: HeldOut,
    *,
    verify: bool,
) -> list[str]:
    """What to say of images that are trained on and measured on alike, byte for byte.

    Args:
      trained_on: the real training images, or None.
      held_out: the images to measure on.
      verify: reads every file, whatever is known of it.

    Raises:
      UserError: all images of a set are.
    """
    if trained_on is None:
        return []
    training = set_content.content_of(trained_on, what="the training set", verify=verify)
    notes = []
    for section, source in held_out._asdict().items():
        if source is None:
            continue
        measured = set_content.content_of(source, what=f"the {section} set", verify=verify)
        shared = set_content.leaked(training, measured, source)
        same_records = measured is None and source.fingerprint() == trained_on.fingerprint()
        if shared.all_of_second or same_records:
            raise UserError(
                f"all {len(source):,} images of section {section} are in the training set: its "
                "accuracy would mean nothing. Give images that are not trained on."
            )
        if shared.number:
            names = ", ".join(shared.names)
            notes.append(
                f"warning     {shared.number:,} images of section {section} are in the training "
                f"set, byte for byte, such as {names}: accuracy will look better than it is"
            )
    return notes
