"""Asymmetric Multi-Head Self-Training, stage 1 and the heads' part of stage 3 (DreamDA, §3.3).

Four auxiliary heads on one backbone: w1 and w2 see only the weak view, s1 and s2 only the strong
one, and each pair is kept apart by an orthogonality penalty. Where they agree with little
uncertainty, stage 2 (`pseudo_label`) takes their word. Stage 3 is `semi_supervised`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dreamda_jax.algorithms.selftrain import heads as auxiliary
from dreamda_jax.algorithms.selftrain.losses import cross_entropy
from dreamda_jax.algorithms.selftrain.network import Network, interleave, separate
from dreamda_jax.types import AnyArray, Loss, Params


class Targeted(NamedTuple):
    """A global batch of images with labels, which may be soft."""

    images: AnyArray
    """uint8 [b, h, w, 3], sRGB 0..255."""
    targets: AnyArray
    """float32 [b, c], rows that sum to 1."""


class Views(NamedTuple):
    """One view of a labelled batch, as the classifier saw it."""

    features: Float[Array, "b d"]
    targets: Float[Array, "b c"]


def stage1_loss(network: Network, *, dropout_rate: float, orthogonality_weight: float) -> Loss:
    """Eq. 7: the heads' cross-entropies on their own view, and the orthogonality of each pair.

    Args:
      network: the classifier; its own head gets no gradient, but shrinks with the weight decay.
      dropout_rate: before every auxiliary head.
      orthogonality_weight: λ.

    Returns:
      A loss of params {"classifier", "heads"} and a `Targeted` batch; metrics: accuracy (mean of
      the heads, on their augmented views), orthogonality.
    """

    def loss(params, batch_stats, method_state, key, batch: Targeted):
        chex.assert_rank([batch.images, batch.targets], [4, 2])
        chex.assert_equal_shape_prefix([batch.images, batch.targets], 1)
        weak_key, strong_key, mix_key, dropout_key, head_key = jax.random.split(key, 5)
        rows = len(batch.images)
        views = {
            "weak": network.weak(weak_key, batch.images),
            "strong": network.strong(strong_key, batch.images),
        }
        mixed = {
            kind: network.mix(jax.random.fold_in(mix_key, place), view, batch.targets)
            for place, (kind, view) in enumerate(views.items())
        }
        images = [view for view, _ in mixed.values()]
        _, features, batch_stats = network.forward(
            params["classifier"], batch_stats, interleave(images, rows), dropout_key
        )
        seen = {
            kind: Views(part, targets)
            for (kind, (_, targets)), part in zip(
                mixed.items(), separate(features, images, rows), strict=True
            )
        }
        total, metrics = head_loss(
            params["heads"],
            seen,
            head_key,
            dropout_rate=dropout_rate,
            orthogonality_weight=orthogonality_weight,
        )
        return total, (batch_stats, method_state, metrics)

    return loss


def head_loss(
    heads: Params,
    seen: Mapping[str, Views],
    key: Key[Array, ""],
    *,
    dropout_rate: float,
    orthogonality_weight: float,
) -> tuple[Float[Array, ""], dict[str, jax.Array]]:
    """Σ over heads of the mean cross-entropy, plus λ times the orthogonality.

    Args:
      heads: of `auxiliary.initial_heads`.
      seen: "weak" and "strong"; a head of kind "both" is trained on each.
      key: of the dropout masks.
      dropout_rate: before every head.
      orthogonality_weight: λ.

    Returns:
      The loss; and accuracy and orthogonality.
    """
    for view in seen.values():
        chex.assert_rank([view.features, view.targets], 2)
        chex.assert_type([view.features, view.targets], float)
        chex.assert_equal_shape_prefix([view.features, view.targets], 1)
    losses, hits = [], []
    for kind in auxiliary.kinds(heads):
        for place, name in enumerate(("weak", "strong") if kind == "both" else (kind,)):
            mask_key = jax.random.fold_in(key, _PLACES[kind] + place)
            logits = auxiliary.head_logits(
                heads[kind], seen[name].features, mask_key, dropout_rate=dropout_rate
            )
            targets = seen[name].targets
            losses.append(jnp.sum(jnp.mean(jax.vmap(cross_entropy, (0, None))(logits, targets), 1)))
            hits.append(jnp.mean(jnp.argmax(logits, -1) == jnp.argmax(targets, -1)))
    penalty = auxiliary.orthogonality_of(heads)
    metrics = {"accuracy": jnp.mean(jnp.stack(hits)), "orthogonality": penalty}
    return sum(losses) + orthogonality_weight * penalty, metrics


_PLACES = {"weak": 0, "strong": 1, "both": 2}  # of their random numbers; "both" has two
