"""Pseudo-labels from a file that an earlier training wrote."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dreamda_jax.data.sets.verdicts import Verdicts, read_verdicts
from dreamda_jax.data.sources.classes import label_mapping
from dreamda_jax.errors import UserError


class LabelFile:
    """A file of verdicts, perhaps edited, to take labels from.

    Args:
      path: a parquet file.
      label_names: the classes to give labels of; it may have them in another order.

    Raises:
      UserError: the file cannot be read, has other classes, or two rows on one image.
    """

    def __init__(self, path: Path, label_names: Sequence[str]) -> None:
        self._path = path
        verdicts, theirs, _, _ = read_verdicts(path)
        names = label_mapping(label_names, theirs, what=f"{path}")
        mapping = np.array([*names, -1], np.int32)  # the last entry is that of -1
        probabilities = np.zeros((len(verdicts.decoded), len(label_names)), np.float32)
        probabilities[:, mapping[:-1]] = verdicts.probabilities
        self._verdicts = verdicts._replace(
            seed_label=mapping[verdicts.seed_label],
            pseudo_label=mapping[verdicts.pseudo_label],
            probabilities=probabilities,
        )
        self._rows: dict[tuple[int, int], int] = {}
        for row, place in enumerate(
            zip(verdicts.seed_id.tolist(), verdicts.variant.tolist(), strict=True)
        ):
            if self._rows.setdefault(place, row) != row:
                raise UserError(
                    f"{path} has two rows on variant {place[1]} of seed image {place[0]}: keep one."
                )

    def of(
        self, images: Sequence[tuple[int, int]], labels: np.ndarray, *, what: str
    ) -> tuple[np.ndarray, Verdicts]:
        """Which images have a row, bool [n], and the rows in their order; others mean nothing.

        Args:
          images: (seed image id, variant) of a set.
          labels: int32 [n], of their seeds.
          what: what messages call the set.

        Raises:
          UserError: the rows are of another set.
        """
        order = np.array([self._rows.get(place, -1) for place in images])
        given = order >= 0
        chosen = Verdicts(*(column[order] for column in self._verdicts))
        foreign = given & (chosen.seed_label != labels)
        if not given.any() or foreign.any():
            reason = "it has no verdict on any of its images"
            if foreign.any():
                reason = f"{foreign.sum():,} images have another seed's class there"
            raise UserError(
                f"{self._path} is of another data set than {what}: {reason}. Give the verdicts on "
                "this set, which lie in its folder verdicts."
            )
        if not given.all():
            print(
                f"note        {(~given).sum():,} images are not in {self._path}: rejected",
                flush=True,
            )
        return given, chosen
