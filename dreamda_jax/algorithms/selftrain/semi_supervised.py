"""Learning from labelled and unlabelled images at once: SoftMatch, FixMatch, and AMST's stage 3."""

import dataclasses
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp

from dreamda_jax.algorithms.selftrain import amst, losses
from dreamda_jax.algorithms.selftrain.consistency import consistency_weights
from dreamda_jax.algorithms.selftrain.network import Network, interleave, separate
from dreamda_jax.algorithms.selftrain.options import Consistency
from dreamda_jax.algorithms.selftrain.softmatch import Confidence
from dreamda_jax.types import AnyArray, Loss

View = Literal["weak", "strong"]


class Batch(NamedTuple):
    """A global batch."""

    images: AnyArray
    """uint8 [b, h, w, 3], sRGB 0..255, labelled."""
    targets: AnyArray
    """float32 [b, c], rows that sum to 1."""
    unlabelled: AnyArray | None
    """uint8 [k · b, h, w, 3]; None where there are none."""


@dataclasses.dataclass(frozen=True)
class HeadTraining:
    """That the auxiliary heads go on learning, for a next round of pseudo-labels."""

    dropout_rate: float
    orthogonality_weight: float


@dataclasses.dataclass(frozen=True)
class SoftLabels:
    """What keeps soft pseudo-labels from collapsing (Arazo et al. 2019, Eq. 4, its weights)."""

    balance_weight: float = 0.8
    entropy_weight: float = 0.4


def semi_supervised_loss(
    network: Network,
    consistency: Consistency | None,
    *,
    labelled_views: tuple[View, ...] = ("weak",),
    heads: HeadTraining | None = None,
    soft_labels: SoftLabels | None = None,
) -> Loss:
    """Cross-entropy on labelled images, consistency between two views of unlabelled ones.

    All views go through the network as one batch, whose statistics normalise them (as USB does
    with `use_cat`).

    Args:
      network: the classifier.
      consistency: of unlabelled images; None where batches have none.
      labelled_views: which views of labelled images the main head learns; losses are averaged.
      heads: train the auxiliary heads too, on both views of the labelled images.
      soft_labels: regularise as for soft pseudo-labels.

    Returns:
      A loss of params {"classifier", "heads"}, a `Batch` and, as method state, a `Confidence`.
      Metrics: accuracy (on labelled views), labelled_loss; consistency_loss and weight (its mean).
    """
    names: tuple[View, ...] = ("weak", "strong") if heads else labelled_views

    def loss(params, batch_stats, confidence, key, batch: Batch):
        chex.assert_rank([batch.images, batch.targets], [4, 2])
        chex.assert_equal_shape_prefix([batch.images, batch.targets], 1)
        keys = jax.random.split(key, 7)
        rows = len(batch.images)
        view_of = {"weak": network.weak, "strong": network.strong}
        labelled = {}
        for name in names:
            place = 0 if name == "weak" else 1
            view = view_of[name](keys[place], batch.images)
            labelled[name] = network.mix(jax.random.fold_in(keys[2], place), view, batch.targets)
        parts = [view for view, _ in labelled.values()]
        if consistency is not None:
            if batch.unlabelled is None:
                raise ValueError("a batch without unlabelled images has no consistency")
            chex.assert_rank(batch.unlabelled, 4)
            chex.assert_is_divisible(len(batch.unlabelled), rows)
            parts += [
                network.weak(keys[3], batch.unlabelled),
                network.strong(keys[4], batch.unlabelled),
            ]
        logits, features, batch_stats = network.forward(
            params["classifier"], batch_stats, interleave(parts, rows), keys[5]
        )
        logits_of = separate(logits, parts, rows)

        main = dict(zip(names, logits_of, strict=False))
        targets = {name: labelled[name][1] for name in names}
        metrics = {
            "labelled_loss": _mean(
                losses.cross_entropy(main[name], targets[name]) for name in labelled_views
            ),
            "accuracy": _mean(
                jnp.argmax(main[name], -1) == jnp.argmax(targets[name], -1)
                for name in labelled_views
            ),
        }
        total = metrics["labelled_loss"]
        if soft_labels is not None:
            total += _mean(_soft_penalty(soft_labels, main[name]) for name in labelled_views)
        if consistency is not None:
            weak, strong = logits_of[-2:]
            term, confidence, of_rest = _consistency_term(consistency, confidence, weak, strong)
            metrics |= of_rest
            total += term
        if heads is not None:
            parts_of = separate(features, parts, rows)
            seen: dict[str, amst.Views] = {
                name: amst.Views(part, targets[name])
                for name, part in zip(names, parts_of, strict=False)
            }
            head_total, of_heads = amst.head_loss(
                params["heads"],
                seen,
                keys[6],
                dropout_rate=heads.dropout_rate,
                orthogonality_weight=heads.orthogonality_weight,
            )
            total += head_total
            metrics["head_accuracy"] = of_heads["accuracy"]
        return total, (batch_stats, confidence, metrics)

    return loss


def _consistency_term(
    consistency: Consistency, confidence: Confidence, weak: jax.Array, strong: jax.Array
) -> tuple[jax.Array, Confidence, dict[str, jax.Array]]:
    """Of the whole loss; the statistics with this batch in them; metrics."""
    weights, confidence = consistency_weights(consistency, confidence, jax.nn.softmax(weak))
    target = losses.pseudo_target(weak, hard=consistency.hard, temperature=consistency.temperature)
    loss = jnp.mean(losses.consistency(strong, target, weights))
    metrics = {"consistency_loss": loss, "weight": jnp.mean(weights)}
    return consistency.loss_weight * loss, confidence, metrics


def _soft_penalty(soft_labels: SoftLabels, logits: jax.Array) -> jax.Array:
    """Arazo's two regularisers of one view's predictions."""
    balance = losses.class_balance_penalty(jax.nn.softmax(logits))
    spread = jnp.mean(losses.entropy(logits))
    return soft_labels.balance_weight * balance + soft_labels.entropy_weight * spread


def _mean(values) -> jax.Array:
    """Over the views of the means over their rows."""
    return jnp.mean(jnp.stack([jnp.mean(value) for value in values]))
