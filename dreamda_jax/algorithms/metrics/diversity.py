"""Diversity: how far apart images of a group are, such as the variants of one seed.

The mean Euclidean distance of all pairs within a group. Real images of one class, as groups, give
the scale: variants of a seed that are as far apart as those are as diverse as real ones.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dreamda_jax.algorithms.metrics.feature_blocks import FeatureSet, padded, read_rows, row_blocks
from dreamda_jax.algorithms.metrics.neighbours import squared_distances
from dreamda_jax.types import AnyArray


class GroupDistances(NamedTuple):
    """Of g groups, in the order of their ids."""

    group: Int[np.ndarray, "g"]
    """Their ids."""
    images: Int[np.ndarray, "g"]
    """Numbers of images, int64."""
    distance: Float[np.ndarray, "g"]
    """Mean distance of two images of the group, float64; NaN where there is only one."""


def distances_within_groups(
    features: Float[AnyArray, "n d"],
    groups: Int[np.ndarray, "n"],
    *,
    name: str,
    block_rows: int = 1024,
) -> GroupDistances:
    """Mean distance of all pairs of images of each group.

    Squared distances are float32 relative to the group's first image, so their error is some 1e-6
    of the square of the group's own extent, wherever it lies, and equal images are at 0. Memory for
    a few numbers per image besides the blocks.

    Args:
      features: finite, in any order; read fastest where groups are together.
      groups: ids, of seeds or classes; not negative. An image with a negative one is left out.
      name: what the images are called in errors.
      block_rows: multiplied at a time; many small groups fit a block.

    Raises:
      ValueError: no matrix, ids of another number of images, no image of any group, or a number
        that is not finite.
    """
    if features.ndim != 2 or groups.shape != features.shape[:1]:
        raise ValueError(
            f"{name} features must be [images, features] with a group for each image, got "
            f"{features.shape} and {groups.shape}"
        )
    order = np.argsort(groups, kind="stable")
    order = order[groups[order] >= 0]
    if not len(order):
        raise ValueError(f"no {name} image is of any group")
    ids, first, place, images = np.unique(
        groups[order], return_index=True, return_inverse=True, return_counts=True
    )
    source = FeatureSet(features, name)
    block_rows = min(block_rows, len(order))

    def read(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Rows relative to the first of their group, and the group's place."""
        firsts, which = np.unique(first[place[rows]], return_inverse=True)
        block = read_rows(source, order[rows]) - read_rows(source, order[firsts])[which]
        fill = block_rows - len(block)
        return padded(block, block_rows), np.pad(place[rows], (0, fill), constant_values=-1)

    sums = np.zeros(len(ids))
    blocks = list(row_blocks(len(order), block_rows))
    for number, rows in enumerate(blocks):
        here = read(rows)
        for columns in blocks[number:]:
            if place[columns.start] > place[rows.stop - 1]:
                break  # ids are sorted: no later block has a group in common with this one
            there = here if columns == rows else read(columns)
            diagonal = columns == rows
            by_row = np.asarray(_distance_sums(*here, *there, diagonal), np.float64)
            times = 1 if diagonal else 2  # the mirror image of this block is not visited
            sums += np.bincount(place[rows], times * by_row[: len(place[rows])], minlength=len(ids))
    pairs = images * (images - 1)
    distance = np.divide(sums, pairs, out=np.full(len(ids), np.nan), where=pairs > 0)
    return GroupDistances(ids, images, distance)


def mean_by_class(
    distances: GroupDistances, class_of_group: Int[np.ndarray, "g"], *, num_classes: int
) -> Float[np.ndarray, "c"]:
    """Mean over the groups of each class, such as the seeds of one label; all weigh the same.

    Args:
      distances: groups of a single image do not count.
      class_of_group: in [0, c), in the order of `distances.group`.
      num_classes: c.

    Returns:
      float64; NaN for a class without groups that count.

    Raises:
      ValueError: classes of another number of groups, or outside [0, c).
    """
    if class_of_group.shape != distances.group.shape:
        raise ValueError(f"{len(distances.group)} groups, but classes are {class_of_group.shape}")
    if len(class_of_group) and not 0 <= class_of_group.min() <= class_of_group.max() < num_classes:
        raise ValueError(f"classes of groups must be in [0, {num_classes})")
    counted = ~np.isnan(distances.distance)
    labels = class_of_group[counted]
    sums = np.bincount(labels, distances.distance[counted], minlength=num_classes)
    groups = np.bincount(labels, minlength=num_classes)
    return np.divide(sums, groups, out=np.full(num_classes, np.nan), where=groups > 0)


@jax.jit
def _distance_sums(
    x: Float[Array, "b d"],
    x_group: Int[Array, "b"],
    y: Float[Array, "b d"],
    y_group: Int[Array, "b"],
    diagonal: Array,
) -> Float[Array, "b"]:
    """Sum of the distances of each row of x to those of y of its group."""
    distances = jnp.sqrt(squared_distances(x, y))
    # An image and itself: rounding is all there is, and its root is not small.
    itself = diagonal & jnp.eye(len(x), dtype=bool)
    return jnp.where((x_group[:, None] == y_group) & ~itself, distances, 0).sum(axis=1)
