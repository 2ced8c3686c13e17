"""Whether every class of a training has an image, before anything is computed."""

from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.folder_walk import first_few
from dreamda_jax.data.sources.readable_classes import refuse_unreadable_classes
from dreamda_jax.train.held_out import HeldOut


def check_classes(
    real: Source | None,
    synthetic: Source | None,
    held_out: HeldOut,
    *,
    begun: bool,
) -> list[str]:
    """Refuses classes of which no image can be read, among real images and those measured on.

    Args:
      real: training images, or None.
      synthetic: training images made by `generate`, or None.
      held_out: images to measure on.
      begun: whether the training has made something; it goes on then.

    Returns:
      Of a training that goes on a warning for each such set, and one for classes of which there
      is no synthetic image.

    Raises:
      UserError: there is such a class, and nothing was made yet.
    """
    sets = {"training": real, **held_out._asdict()}
    lines = [
        line
        for name, source in sets.items()
        for line in refuse_unreadable_classes(source, what=f"the {name} images", begun=begun)
    ]
    empty = getattr(synthetic, "empty_classes", ())
    if empty:
        lines.append(f"warning     there is no synthetic image of the class {first_few(empty, 10)}")
    return lines
