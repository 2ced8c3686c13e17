"""Stage 2: which synthetic images get a label, and which one."""

from typing import NamedTuple

import chex
import numpy as np
from jaxtyping import Bool, Float, Int

NO_LABEL = -1


class Judgement(NamedTuple):
    """Of n images."""

    uncertainty: Float[np.ndarray, "n"]
    """The largest variance of any head."""
    accepted: Bool[np.ndarray, "n"]
    pseudo_label: Int[np.ndarray, "n"]
    """-1 where not accepted."""


def judge(
    classes: Int[np.ndarray, "n k"], variances: Float[np.ndarray, "n k"], *, threshold: float
) -> Judgement:
    """Accepts an image if all heads agree and none is uncertain (paper, stage 2).

    Args:
      classes: of each head.
      variances: MC-dropout variance of that class's probability.
      threshold: τ; the largest variance must be below it.
    """
    chex.assert_rank(variances, 2)
    chex.assert_equal_shape([classes, variances])
    chex.assert_type([classes, variances], [int, float])
    uncertainty = variances.max(axis=1)
    accepted = agreement(classes) & (uncertainty < threshold)
    label = np.where(accepted, classes[:, 0], NO_LABEL).astype(np.int32)
    return Judgement(uncertainty, accepted, label)


def agreement(classes: Int[np.ndarray, "n k"]) -> Bool[np.ndarray, "n"]:
    """Whether all heads say the same."""
    chex.assert_rank(classes, 2)
    return (classes == classes[:, :1]).all(axis=1)
