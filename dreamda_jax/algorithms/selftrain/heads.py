"""The auxiliary heads: linear classifiers behind dropout on a backbone's features.

Parameters are {"weak": {"kernel" [k, d, c], "bias" [k, c]}, ...}: heads of one kind are stacked.
The kind says which view trains the head: "weak" (w1, w2), "strong" (s1, s2), or "both" for the
single head of the ablation without multi-head.
"""

import functools
from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dreamda_jax.algorithms.selftrain.losses import orthogonality
from dreamda_jax.types import Params

MULTI_HEAD: Mapping[str, int] = {"weak": 2, "strong": 2}
SINGLE_HEAD: Mapping[str, int] = {"both": 1}
_KINDS = ("weak", "strong", "both")  # JAX sorts a dict's keys: its order says nothing


def head_names(layout: Mapping[str, int]) -> tuple[str, ...]:
    """Such as ("w1", "w2", "s1", "s2"), in the order of `predict`'s heads."""
    return tuple(
        f"{kind[0]}{place}" for kind in kinds(layout) for place in range(1, layout[kind] + 1)
    )


def kinds(heads: Mapping[str, Any]) -> list[str]:
    """The kinds there are, in a fixed order."""
    return [kind for kind in _KINDS if kind in heads]


def initial_heads(
    key: Key[Array, ""], layout: Mapping[str, int], *, num_features: int, num_classes: int
) -> Params:
    """Fresh heads, uniform in ±1/√d as PyTorch's Linear."""
    bound = num_features**-0.5
    heads = {}
    for kind_key, kind in zip(jax.random.split(key, len(layout)), kinds(layout), strict=True):
        count = layout[kind]
        kernel_key, bias_key = jax.random.split(kind_key)
        heads[kind] = {
            "kernel": jax.random.uniform(
                kernel_key, (count, num_features, num_classes), minval=-bound, maxval=bound
            ),
            "bias": jax.random.uniform(bias_key, (count, num_classes), minval=-bound, maxval=bound),
        }
    return heads


def head_logits(
    head: Params, features: Float[Array, "b d"], key: Key[Array, ""], *, dropout_rate: float
) -> Float[Array, "k b c"]:
    """Logits of all heads of one kind, each behind a dropout mask of its own.

    Args:
      head: {"kernel", "bias"}.
      features: of the backbone.
      key: of the masks.
      dropout_rate: in [0, 1).
    """
    count, width, classes = head["kernel"].shape
    chex.assert_shape(head["bias"], (count, classes))
    chex.assert_shape(features, (None, width))
    chex.assert_type(features, float)
    inputs = jnp.broadcast_to(features, (head["kernel"].shape[0], *features.shape))
    if dropout_rate > 0:
        kept = jax.random.bernoulli(key, 1.0 - dropout_rate, inputs.shape)
        inputs = jnp.where(kept, inputs / (1.0 - dropout_rate), 0.0)
    return jnp.einsum("kbd,kdc->kbc", inputs, head["kernel"]) + head["bias"][:, None]


def orthogonality_of(heads: Params) -> Float[Array, ""]:
    """Σ |W₁ᵀ W₂| over the kinds that have two heads (paper, Eq. 7)."""
    for head in heads.values():
        chex.assert_rank(head["kernel"], 3)
    pairs = [head["kernel"] for head in heads.values() if head["kernel"].shape[0] == 2]
    return sum((orthogonality(first, second) for first, second in pairs), jnp.float32(0))


def mc_dropout(
    heads: Params,
    features: Mapping[str, Float[Array, "b d"]],
    keys: Key[Array, "b"],
    *,
    dropout_rate: float,
    num_passes: int,
) -> tuple[Int[Array, "b k"], Float[Array, "b k"], Float[Array, "b c"]]:
    """Monte Carlo dropout of every head (Gal & Ghahramani 2016).

    Args:
      heads: of all kinds.
      features: by kind, of the view that the kind is to judge.
      keys: one per row, so that an image's masks do not depend on its batch.
      dropout_rate: as in training; at 0 all passes are alike.
      num_passes: T, at least 2.

    Returns:
      The class of each head, that of the largest mean probability; the sample variance (T − 1) over
      the passes of that class's probability; and the mean probabilities over passes and heads.
    """
    for kind in kinds(heads):
        chex.assert_rank(features[kind], 2)
        chex.assert_shape(keys, (len(features[kind]),))

    def one_pass(number: jax.Array) -> Float[Array, "k b c"]:
        logits = [
            jax.vmap(functools.partial(row, head=heads[kind]), out_axes=1)(
                jax.vmap(lambda key, p=place: fold(key, number, p))(keys), features[kind]
            )
            for place, kind in enumerate(kinds(heads))
        ]
        return jax.nn.softmax(jnp.concatenate(logits))

    def row(key: jax.Array, features: Float[Array, "d"], *, head: Params) -> Float[Array, "k c"]:
        return head_logits(head, features[None], key, dropout_rate=dropout_rate)[:, 0]

    def fold(key: jax.Array, number: jax.Array, place: int) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(key, number), place)

    # One pass after the other: all masks at once would not fit for wide features.
    passes = jax.lax.map(one_pass, jnp.arange(num_passes))  # [t, k, b, c]
    mean = jnp.mean(passes, axis=0)
    classes = jnp.argmax(mean, -1)
    chosen = jnp.take_along_axis(passes, classes[None, ..., None], -1)[..., 0]
    # Of differences: the variance of equal numbers is then 0, which the mean's rounding denies.
    variance = jnp.var(chosen - chosen[0], axis=0, ddof=1)
    return classes.T.astype(jnp.int32), variance.T, jnp.mean(mean, axis=0)
