"""Top-1 accuracy of a classifier on a whole set, as a confusion matrix."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.algorithms.augment import policy
from dreamda_jax.algorithms.metrics import accuracy
from dreamda_jax.data.evaluation_stream import EvaluationBatch
from dreamda_jax.runtime import devices
from dreamda_jax.types import Params

EvaluateStep = Callable[..., jax.Array]


def make_evaluate_step(
    classify: Callable[[Params, jax.Array], jax.Array],
    *,
    num_classes: int,
    image_size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> EvaluateStep:
    """`step(variables, images, labels, mask) -> confusion` int32 [classes, classes]; rows are true.

    A pure function of a global batch; compile it with `jax.jit`. `classify(variables, images)`
    gives logits [b, classes] of normalised images; see `supervised_loss` for the other arguments,
    `EvaluationBatch` for the rows.
    """

    def step(variables: Params, images: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        images = policy.eval_view(images, size=image_size, mean=mean, std=std)
        logits = classify(variables, images)
        return accuracy.confusion_matrix(
            labels, jnp.argmax(logits, -1), mask, num_classes=num_classes
        )

    return step


def evaluate(
    step: EvaluateStep,
    variables: Params,
    batches: Iterable[EvaluationBatch],
    *,
    mesh: jax.sharding.Mesh,
) -> np.ndarray:
    """The confusion matrix of a whole set, int64 [classes, classes]; rows are true labels.

    Every host must go through the same number of batches.
    """
    total: np.ndarray | None = None
    for batch in batches:
        rows = devices.global_rows(mesh, (batch.images, batch.labels, batch.mask))
        confusion = np.asarray(step(variables, *rows)).astype(np.int64)
        total = confusion if total is None else total + confusion
    if total is None:
        raise ValueError("no batch to evaluate")
    return total
