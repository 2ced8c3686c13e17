"""A classifier that can be followed by hand: linear features, a linear head, plain views."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.algorithms.selftrain.network import Network

CLASSES, FEATURES, PIXELS = 4, 5, 12
SHAPE = (2, 2, 3)

# Sums of at most a hundred float32 products of size one.
CLOSE: dict[str, Any] = {"rtol": 2e-5, "atol": 1e-6}


def forward(params, batch_stats, views, dropout_key):
    """The statistics count the images seen."""
    del dropout_key
    features = views.reshape(len(views), -1) @ params["backbone"]
    logits = features @ params["head"]
    return logits, features, {"seen": batch_stats["seen"] + len(views)}


def weak(key, images):
    del key
    return images / 255.0


def strong(key, images):
    del key
    return 1.0 - images / 255.0


def unmixed(key, views, targets):
    del key
    return views, targets


def mixed(key, views, targets):
    """Mixup of fixed strength with the batch in reverse."""
    del key
    return 0.75 * views + 0.25 * views[::-1], 0.75 * targets + 0.25 * targets[::-1]


LINEAR = Network(forward=forward, weak=weak, strong=strong, mix=unmixed)
STATS = {"seen": jnp.int32(0)}


def some_images(seed: int, rows: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, *SHAPE), dtype=np.uint8)


def some_targets(seed: int, rows: int) -> np.ndarray:
    """Soft ones: a slip that takes the class alone shows."""
    return np.random.default_rng(seed).dirichlet(np.ones(CLASSES), rows).astype(np.float32)


def some_params(seed: int, layout: dict[str, int]) -> dict:
    """Of the classifier and of auxiliary heads, of size about one."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(random.standard_normal(shape), jnp.float32)

    return {
        "classifier": {"backbone": normal(PIXELS, FEATURES), "head": normal(FEATURES, CLASSES)},
        "heads": {
            kind: {"kernel": normal(count, FEATURES, CLASSES), "bias": normal(count, CLASSES)}
            for kind, count in layout.items()
        },
    }


def to_numpy(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def flat_views(images: np.ndarray) -> dict[str, np.ndarray]:
    """Float64 [b, pixels], of `weak` and `strong`."""
    flat = images.reshape(len(images), -1).astype(np.float64) / 255
    return {"weak": flat, "strong": 1 - flat}


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def mean_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    return float(np.mean(-np.sum(targets * np.log(softmax(logits)), -1)))


def hits(logits: np.ndarray, targets: np.ndarray) -> float:
    return float(np.mean(logits.argmax(-1) == targets.argmax(-1)))


def head_loss(heads: dict, views: dict, targets: dict, weight: float) -> tuple[float, list[float]]:
    """Eq. 7, head by head, in float64; and how often each head is right.

    Args:
      heads: of `some_params`, as numpy.
      views: features [b, d] of "weak" and "strong"; likewise targets.
      targets: [b, c].
      weight: λ.
    """
    total, right = 0.0, []
    for kind, head in heads.items():
        for place in range(len(head["kernel"])):
            for view in ("weak", "strong") if kind == "both" else (kind,):
                logits = views[view] @ head["kernel"][place] + head["bias"][place]
                total += mean_cross_entropy(logits, targets[view])
                right.append(hits(logits, targets[view]))
        if len(head["kernel"]) == 2:
            first, second = head["kernel"]
            for left in first.T:  # one entry of W₁ᵀ W₂ after the other
                total += weight * sum(abs(left @ right_) for right_ in second.T)
    return total, right
