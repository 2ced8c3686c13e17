"""The auxiliary heads and Monte Carlo dropout, against numpy and explicit passes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.selftrain.heads import (
    MULTI_HEAD,
    SINGLE_HEAD,
    head_logits,
    head_names,
    initial_heads,
    kinds,
    mc_dropout,
    orthogonality_of,
)
from tests.support.linear_network import CLASSES, FEATURES, softmax, some_params

ROWS = 6
KEYS = jax.random.split(jax.random.key(5), ROWS)
# The whole chain (products, softmax, means of eight) in float32 against float64.
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}


def some_features(names=("weak", "strong"), rows: int = ROWS) -> dict[str, jax.Array]:
    random = np.random.default_rng(3)
    return {name: jnp.float32(random.standard_normal((rows, FEATURES))) for name in names}


def explicit_passes(heads, features, order, *, dropout_rate, num_passes) -> np.ndarray:
    """Float64 probabilities [t, k, b, c], one image, pass and kind of head at a time."""
    passes = np.zeros((num_passes, sum(len(heads[k]["kernel"]) for k in order), ROWS, CLASSES))
    for number in range(num_passes):
        for row in range(ROWS):
            parts = []
            for place, kind in enumerate(order):
                key = jax.random.fold_in(jax.random.fold_in(KEYS[row], number), place)
                one = features[kind][row : row + 1]
                parts.append(head_logits(heads[kind], one, key, dropout_rate=dropout_rate)[:, 0])
            passes[number, :, row] = softmax(np.concatenate(parts).astype(np.float64))
    return passes


@pytest.mark.parametrize("order", [("weak", "strong"), ("both",)])
def test_mc_dropout_is_the_statistics_of_explicit_passes(order):
    layout = MULTI_HEAD if len(order) == 2 else SINGLE_HEAD
    heads, features = some_params(1, dict(layout))["heads"], some_features(order)
    options = {"dropout_rate": 0.3, "num_passes": 8}
    passes = explicit_passes(heads, features, order, **options)
    classes, variances, probabilities = jax.jit(lambda *a: mc_dropout(*a, **options))(
        heads, features, KEYS
    )

    num_heads = passes.shape[1]
    assert classes.shape == variances.shape == (ROWS, num_heads)
    assert classes.dtype == jnp.int32
    for row in range(ROWS):
        for head in range(num_heads):
            of_head = passes[:, head, row]
            largest = int(np.argmax(of_head.mean(0)))
            assert classes[row, head] == largest
            expected = np.var(of_head[:, largest], ddof=1)
            np.testing.assert_allclose(variances[row, head], expected, **CLOSE)
    np.testing.assert_allclose(probabilities, passes.mean((0, 1)), **CLOSE)
    assert variances.min() > 1e-4  # the masks did something


def test_each_kind_of_head_judges_its_own_view():
    heads, features = some_params(1, dict(MULTI_HEAD))["heads"], some_features()
    options = {"dropout_rate": 0.3, "num_passes": 4}
    classes, variances, _ = mc_dropout(heads, features, KEYS, **options)
    other = {**features, "strong": -features["strong"]}
    changed_classes, changed, _ = mc_dropout(heads, other, KEYS, **options)
    np.testing.assert_array_equal(variances[:, :2], changed[:, :2])
    np.testing.assert_array_equal(classes[:, :2], changed_classes[:, :2])
    assert np.all(np.asarray(variances[:, 2:]) != np.asarray(changed[:, 2:]))


@pytest.mark.parametrize("num_passes", [2, 7, 10])
def test_without_dropout_nothing_is_uncertain(num_passes):
    heads, features = some_params(2, dict(MULTI_HEAD))["heads"], some_features()
    classes, variances, probabilities = mc_dropout(
        heads, features, KEYS, dropout_rate=0.0, num_passes=num_passes
    )
    np.testing.assert_array_equal(variances, 0)
    logits = np.concatenate(
        [
            np.einsum("bd,kdc->kbc", features[kind], heads[kind]["kernel"])
            + np.asarray(heads[kind]["bias"])[:, None]
            for kind in ("weak", "strong")
        ]
    )
    np.testing.assert_array_equal(classes, logits.argmax(-1).T)
    np.testing.assert_allclose(probabilities, softmax(logits).mean(0), **CLOSE)


def test_uncertainty_grows_with_the_dropout_rate():
    heads, features = some_params(2, dict(MULTI_HEAD))["heads"], some_features()
    mean_of = [
        float(mc_dropout(heads, features, KEYS, dropout_rate=rate, num_passes=16)[1].mean())
        for rate in (0.0, 0.001, 0.05, 0.3)
    ]
    assert mean_of == sorted(mean_of)
    assert mean_of[1] < 0.1 * mean_of[3]


def test_the_judgement_of_an_image_does_not_depend_on_its_batch():
    heads, features = some_params(1, dict(MULTI_HEAD))["heads"], some_features()
    options = {"dropout_rate": 0.4, "num_passes": 6}
    whole = mc_dropout(heads, features, KEYS, **options)
    for places in ([4], [5, 0, 3, 1]):
        chosen = jnp.array(places)
        part = {kind: value[chosen] for kind, value in features.items()}
        found = mc_dropout(heads, part, KEYS[chosen], **options)
        np.testing.assert_array_equal(found[0], whole[0][chosen])
        # The same masks; a compiled batch of another size may round otherwise.
        for name in (1, 2):
            np.testing.assert_allclose(found[name], whole[name][chosen], rtol=1e-5, atol=1e-7)
    other_keys = jnp.roll(KEYS, 1)
    assert np.all(mc_dropout(heads, features, other_keys, **options)[1] != whole[1])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_its_share_and_the_expectation(rate):
    """The identity as kernel shows the masks themselves."""
    width, rows = 40, 50
    head = {"kernel": jnp.stack([jnp.eye(width)] * 2), "bias": jnp.zeros((2, width))}
    seen = head_logits(head, jnp.ones((rows, width)), jax.random.key(0), dropout_rate=rate)
    kept = np.asarray(seen) > 0
    np.testing.assert_allclose(np.asarray(seen)[kept], 1 / (1 - rate), rtol=1e-6)
    for mask, values in zip(kept, np.asarray(seen), strict=True):
        deviation = np.sqrt(rate * (1 - rate) / mask.size)
        assert abs(mask.mean() - (1 - rate)) < 4 * deviation
        assert abs(values.mean() - 1) < 4 * deviation / (1 - rate)
    # The two heads drop independently of each other, and so do two rows.
    for first, second in ((kept[0], kept[1]), (kept[0, :25], kept[0, 25:])):
        both = (1 - rate) ** 2
        deviation = np.sqrt(both * (1 - both) / first.size)
        assert abs((first & second).mean() - both) < 4 * deviation


def test_without_dropout_the_logits_are_those_of_linear_layers():
    heads, features = some_params(4, {"weak": 2})["heads"], some_features()["weak"]
    found = head_logits(heads["weak"], features, jax.random.key(0), dropout_rate=0.0)
    for place in range(2):
        kernel = np.asarray(heads["weak"]["kernel"][place], np.float64)
        expected = np.asarray(features, np.float64) @ kernel + heads["weak"]["bias"][place]
        np.testing.assert_allclose(found[place], expected, **CLOSE)


def test_fresh_heads_are_bounded_and_all_different():
    width, classes = 400, 30
    heads = initial_heads(jax.random.key(1), MULTI_HEAD, num_features=width, num_classes=classes)
    bound = 1 / np.sqrt(width)
    singles = []
    for kind in ("weak", "strong"):
        assert heads[kind]["kernel"].shape == (2, width, classes)
        assert heads[kind]["bias"].shape == (2, classes)
        for leaf in heads[kind].values():
            assert leaf.dtype == jnp.float32
            assert np.abs(leaf).max() <= bound
        singles += list(np.asarray(heads[kind]["kernel"]))
        # A uniform distribution: mean 0, variance bound²/3; 24,000 draws.
        assert abs(heads[kind]["kernel"].mean()) < 4 * bound / np.sqrt(3 * 24_000)
        np.testing.assert_allclose(heads[kind]["kernel"].var(), bound**2 / 3, rtol=0.03)
        assert np.abs(heads[kind]["kernel"]).max() > 0.99 * bound
    for one in range(4):
        for other in range(one):
            correlation = np.corrcoef(singles[one].ravel(), singles[other].ravel())[0, 1]
            assert abs(correlation) < 4 / np.sqrt(width * classes)


def test_the_single_head_is_one():
    heads = initial_heads(jax.random.key(1), SINGLE_HEAD, num_features=6, num_classes=3)
    assert list(heads) == ["both"]
    assert heads["both"]["kernel"].shape == (1, 6, 3)


def test_names_follow_a_fixed_order():
    assert head_names(MULTI_HEAD) == ("w1", "w2", "s1", "s2")
    assert head_names({"strong": 2, "weak": 2}) == ("w1", "w2", "s1", "s2")
    assert head_names(SINGLE_HEAD) == ("b1",)
    assert kinds({"both": 0, "strong": 0, "weak": 0}) == ["weak", "strong", "both"]


def test_neither_initial_heads_nor_predictions_depend_on_the_order_of_a_dict():
    """Through `jit` a dict comes out with its keys sorted: "strong" before "weak"."""
    sizes = {"num_features": FEATURES, "num_classes": CLASSES}
    heads = initial_heads(jax.random.key(2), {"weak": 2, "strong": 2}, **sizes)
    turned = initial_heads(jax.random.key(2), {"strong": 2, "weak": 2}, **sizes)
    for kind in MULTI_HEAD:
        np.testing.assert_array_equal(heads[kind]["kernel"], turned[kind]["kernel"])

    features, options = some_features(), {"dropout_rate": 0.2, "num_passes": 3}
    found = mc_dropout(heads, features, KEYS, **options)
    backwards = {kind: heads[kind] for kind in ("strong", "weak")}
    again = mc_dropout(backwards, dict(reversed(features.items())), KEYS, **options)
    for first, second in zip(found, again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_orthogonality_counts_pairs_only():
    heads = some_params(3, dict(MULTI_HEAD))["heads"]
    expected = sum(
        np.abs(np.asarray(heads[kind]["kernel"][0], np.float64).T @ heads[kind]["kernel"][1]).sum()
        for kind in MULTI_HEAD
    )
    np.testing.assert_allclose(orthogonality_of(heads), expected, rtol=1e-5)
    assert orthogonality_of(some_params(3, dict(SINGLE_HEAD))["heads"]) == 0
