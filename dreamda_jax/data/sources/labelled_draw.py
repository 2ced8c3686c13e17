"""A few labelled examples of each class, drawn by seed: what semi-supervised learning starts from.

STL-10's protocol as in USB (Wang et al. 2022), whose `sample_labeled_unlabeled_data` draws
num_labels / C examples of each class without replacement. The draws differ from USB's own, which
come from numpy's global generator.
"""

import numpy as np

from dreamda_jax.data.sources import classes
from dreamda_jax.data.sources.folder_walk import printable
from dreamda_jax.data.sources.source import Source
from dreamda_jax.data.sources.subset import Subset
from dreamda_jax.errors import UserError


def draw_labelled(source: Source, num_labels: int, *, seed: int) -> Subset:
    """Draws as many examples of each class, `num_labels` in all, without replacement.

    Args:
      source: a labelled set.
      num_labels: a multiple of the number of classes C.
      seed: from 0; the same seed draws the same examples of the same source on every machine.

    Returns:
      The subset, in the source's order.

    Raises:
      UserError: `num_labels` cannot be shared equally, a class has too few images, or an image
        has a label that names no class.
    """
    num_classes = len(source.label_names)
    per_class, rest = divmod(num_labels, num_classes)
    if rest or per_class < 1:
        nearest = max(1, round(num_labels / num_classes)) * num_classes
        raise UserError(
            f"num_labels is {num_labels}, but as many images are drawn of each of the "
            f"{num_classes} classes of {source.name}. Give a multiple of {num_classes}, such as "
            f"{nearest}."
        )
    labels = _read_labels(source)
    scarce = _scarce(source, np.bincount(labels, minlength=num_classes), per_class)
    if scarce:
        raise UserError(
            f"num_labels={num_labels} draws {per_class} images of each class of {source.name}, "
            f"which has fewer of: {scarce}. Lower num_labels, or add images of these classes."
        )
    generator = np.random.default_rng(seed)
    drawn = [
        generator.permutation(np.flatnonzero(labels == label))[:per_class]
        for label in range(num_classes)
    ]
    return Subset(source, np.sort(np.concatenate(drawn)))


def class_counts(source: Source) -> np.ndarray:
    """How many examples each class has, int64 [C]; no image is decoded.

    Raises:
      UserError: a label names no class.
    """
    return np.bincount(_read_labels(source), minlength=len(source.label_names))


def check_two_per_class(source: Source) -> None:
    """Checks that a labelled set is enough for self-training.

    Raises:
      UserError: a class has fewer than two images, or a label names no class.
    """
    scarce = _scarce(source, class_counts(source), 2)
    if scarce:
        raise UserError(
            "Self-training needs at least two labelled images of each class: from one alone "
            "nobody can tell what the class has in common. In "
            f"{source.name} there are fewer of: {scarce}. Add images of these classes, take the "
            "classes out of the set, or raise num_labels if the labelled images are drawn."
        )


def _read_labels(source: Source) -> np.ndarray:
    """Int64 [n]; from memory where the source has them there, else example by example."""
    if not len(source):
        return np.zeros(0, np.int64)
    classes.check_labels(source)
    if hasattr(source, "labels"):
        return np.asarray(source.labels, np.int64)
    examples = (source[index] for index in range(len(source)))
    checked = (classes.checked_label(source, e.name, e.label) for e in examples)
    return np.fromiter(checked, np.int64, len(source))


def _scarce(source: Source, counts: np.ndarray, needed: int) -> str:
    """`'cat' (1), 'dog' (0)`: the classes with too few examples; empty if there are none."""
    named = zip(source.label_names, counts.tolist(), strict=True)
    few = [f"{printable(name)!r} ({count})" for name, count in named if count < needed]
    return ", ".join(few[:10]) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
