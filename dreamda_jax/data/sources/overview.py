"""What a person is told of a set before anything is made of it: its classes, what was ignored."""

import numpy as np

from dreamda_jax.data.sources.folder_walk import describe_ignored, first_few
from dreamda_jax.data.sources.source import Source
from dreamda_jax.printable import printable

_SHOWN = 10


def overview(source: Source, *, label_width: int) -> list[str]:
    """The lines of a summary about a set's classes, and about what its folder holds besides.

    Args:
      source: the set; of one that does not have its labels in memory the counts are left out.
      label_width: of the summary's first column.
    """
    names = [printable(name) for name in source.label_names]
    labels = getattr(source, "labels", None)
    shown = names[:_SHOWN]
    if labels is not None:
        counts = np.bincount(np.asarray(labels, np.int64), minlength=len(names))
        shown = [f"{name} {count:,}" for name, count in zip(shown, counts.tolist(), strict=False)]
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    lines = [f"{'classes':<{label_width}}{', '.join(shown)}{more}"]
    if len(names) == 1:
        lines.append(f"{'note':<{label_width}}this set has one class only")
    missing = getattr(source, "missing", ())
    if missing:
        lines.append(
            f"{'note':<{label_width}}{len(missing):,} of the {len(source):,} images that are "
            f"listed are not there: {first_few(missing)}"
        )
    ignored = describe_ignored(getattr(source, "ignored", ()))
    if ignored:
        lines.append(f"{'ignored':<{label_width}}{ignored}")
    return lines
