"""Accuracy of a classifier, all of it read off one confusion matrix.

`b` examples, `c` classes. A matrix counts, so those of several batches, or hosts, add up. The same
numbers as scikit-learn's `confusion_matrix`, `accuracy_score` and `recall_score(average=None)`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dreamda_jax.types import AnyArray


def confusion_matrix(
    labels: Int[AnyArray, "b"],
    predictions: Int[AnyArray, "b"],
    mask: Bool[AnyArray, "b"],
    *,
    num_classes: int,
) -> Int[Array, "c c"]:
    """How often each class was taken for each.

    Args:
      labels: true classes.
      predictions: predicted classes.
      mask: False where a row only fills up the batch; such rows may hold anything.
      num_classes: c; rows with a label or a prediction outside [0, c) are not counted.

    Returns:
      int32 [c, c]: row the true class, column the predicted one. Add up more than 2³¹ on the host.
    """
    # Sums of products of 0 and 1 below 2²⁴ are exact in float32, even where a device multiplies
    # in bfloat16; and a product, unlike a scatter, is summed over devices without a gather.
    true = jax.nn.one_hot(labels, num_classes) * jnp.asarray(mask)[:, None]
    predicted = jax.nn.one_hot(predictions, num_classes)
    counts = jnp.matmul(true.T, predicted, preferred_element_type=jnp.float32)
    return counts.astype(jnp.int32)


def top1(confusion: Int[AnyArray, "c c"]) -> float:
    """Share of examples that were predicted right, in [0, 1].

    Raises:
      ValueError: the matrix counts no example.
    """
    counts = np.asarray(confusion, np.int64)
    if not counts.sum():
        raise ValueError("the confusion matrix counts no example, so there is no accuracy")
    return float(np.trace(counts) / counts.sum())


def per_class_accuracy(confusion: Int[AnyArray, "c c"]) -> Float[np.ndarray, "c"]:
    """Share of each class's examples that were predicted right (its recall), float64 in [0, 1].

    NaN for a class without examples.
    """
    counts = np.asarray(confusion, np.int64)
    examples = counts.sum(axis=1)
    right = np.diag(counts).astype(np.float64)
    return np.divide(right, examples, out=np.full_like(right, np.nan), where=examples > 0)


def sole_prediction(confusion: Int[AnyArray, "c c"]) -> int | None:
    """The one class that every example was taken for; None where there are several.

    None too where the examples are all of one class: then it may be right.
    """
    counts = np.asarray(confusion, np.int64)
    predicted = np.flatnonzero(counts.sum(axis=0))
    several = np.count_nonzero(counts.sum(axis=1)) > 1
    return int(predicted[0]) if several and len(predicted) == 1 else None
