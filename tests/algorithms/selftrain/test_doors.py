"""A wrong axis or type is named where it comes in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.selftrain import heads, losses, network, pseudo_label, softmatch
from dreamda_jax.algorithms.selftrain.amst import Targeted, Views, head_loss, stage1_loss
from dreamda_jax.algorithms.selftrain.consistency import consistency_weights
from dreamda_jax.algorithms.selftrain.options import Consistency
from dreamda_jax.algorithms.selftrain.semi_supervised import Batch, semi_supervised_loss
from tests.support import linear_network as linear

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 3)
LOGITS = jnp.zeros((3, 4))
FEATURES = jnp.zeros((3, 5))
START = softmatch.initial_confidence(4)
HEADS = heads.initial_heads(KEY, heads.MULTI_HEAD, num_features=5, num_classes=4)
PARAMS = linear.some_params(0, dict(heads.MULTI_HEAD))
IMAGES, TARGETS = linear.some_images(0, 3), linear.some_targets(0, 3)
BOTH = {"dropout_rate": 0.1, "orthogonality_weight": 0.1}


def stage1(batch):
    return stage1_loss(linear.LINEAR, **BOTH)(PARAMS, linear.STATS, None, KEY, batch)


def stage3(batch):
    loss = semi_supervised_loss(linear.LINEAR, Consistency())
    return loss(PARAMS, linear.STATS, START, KEY, batch)


def drop(features, keys):
    return heads.mc_dropout(
        HEADS, dict.fromkeys(HEADS, features), keys, dropout_rate=0.1, num_passes=2
    )


@pytest.mark.parametrize(
    ("call", "check"),
    [
        (lambda: losses.cross_entropy(LOGITS, jnp.zeros(3, int)), "equal_shape"),
        (lambda: losses.orthogonality(FEATURES, LOGITS), "equal_shape"),
        (lambda: losses.pseudo_target(LOGITS.astype(int), hard=True, temperature=1.0), "type"),
        (lambda: losses.consistency(LOGITS, LOGITS, jnp.ones((3, 1))), "shape"),
        (lambda: losses.class_balance_penalty(LOGITS[0]), "rank"),
        (lambda: heads.head_logits(HEADS["weak"], LOGITS, KEY, dropout_rate=0.0), "shape"),
        (lambda: drop(FEATURES, KEYS[:2]), "shape"),
        (lambda: drop(FEATURES[0], KEYS), "rank"),
        (lambda: head_loss(HEADS, {"weak": Views(FEATURES, LOGITS[:2])}, KEY, **BOTH), "equal"),
        (lambda: network.interleave([LOGITS, FEATURES], 3), "shape"),
        (lambda: network.interleave([LOGITS], 2), "is_divisible"),
        (lambda: network.separate(LOGITS, [LOGITS, LOGITS], 3), "axis_dimension"),
        (lambda: pseudo_label.judge(np.zeros((3, 4)), np.zeros((3, 4)), threshold=1), "type"),
        (lambda: pseudo_label.agreement(np.zeros(3, int)), "rank"),
        (lambda: softmatch.softmatch_weights(START, FEATURES), "shape"),
        (lambda: softmatch.gaussian_weight(START, LOGITS), "rank"),
        (lambda: softmatch.fixed_weights(LOGITS[0], threshold=0.9), "rank"),
        (lambda: consistency_weights(Consistency(), START, LOGITS[0]), "rank"),
        (lambda: stage1(Targeted(IMAGES, TARGETS[:2])), "equal_shape_prefix"),
        (lambda: stage1(Targeted(IMAGES, TARGETS[:, 0])), "rank"),
        (lambda: stage3(Batch(IMAGES, TARGETS, IMAGES[:2])), "is_divisible"),
        (lambda: stage3(Batch(IMAGES, TARGETS[:2], IMAGES)), "equal_shape_prefix"),
    ],
)
def test_a_wrong_array_is_refused(call, check):
    with pytest.raises(AssertionError, match=f"assert_{check}.* failed"):
        call()
