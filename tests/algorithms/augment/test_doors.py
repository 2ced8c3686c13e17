"""A wrong axis or type is named where it comes in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.augment import (
    color,
    erasing,
    geometry,
    mixing,
    policy,
    rand_augment,
    warp,
)
from dreamda_jax.algorithms.augment.options import Augment

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 2)
IMAGES = np.zeros((2, 8, 8, 3), np.uint8)
VIEWS = np.zeros((2, 8, 8, 3), np.float32)
TARGETS = np.eye(2, dtype=np.float32)
COLORS = {"size": 8, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@pytest.mark.parametrize(
    ("call", "check"),
    [
        (lambda: geometry.random_flip(KEYS, IMAGES[..., :1]), "shape"),
        (lambda: geometry.random_flip(KEYS[:1], IMAGES), "shape"),
        (lambda: geometry.random_resized_crop(KEYS, VIEWS, size=4), "type"),
        (lambda: geometry.center_crop(IMAGES[0], 4), "shape"),
        (lambda: erasing.random_erasing(KEYS, IMAGES), "type"),
        (lambda: mixing.mixup(KEY, VIEWS, TARGETS[:1]), "equal_shape_prefix"),
        (lambda: mixing.cutmix(KEY, VIEWS, np.array([0, 1])), "rank"),
        (lambda: policy.train_view(Augment(), KEY, IMAGES, np.ones(2), **COLORS), "rank"),
        (lambda: policy.weak_view(Augment(), KEYS[:1], IMAGES, **COLORS), "shape"),
        (lambda: rand_augment.rand_augment(KEYS, VIEWS), "type"),
        (lambda: warp.warp(IMAGES[0], jnp.eye(3)), "shape"),
        (lambda: color.look_up(IMAGES[0], jnp.zeros((3, 256))), "shape"),
        (lambda: color.gray(IMAGES), "shape"),
    ],
)
def test_a_wrong_array_is_refused(call, check):
    with pytest.raises(AssertionError, match=f"assert_{check} failed"):
        call()


def test_it_is_refused_while_tracing_too():
    with pytest.raises(AssertionError, match="assert_shape failed"):
        jax.eval_shape(geometry.random_flip, KEYS, IMAGES[..., :1])
