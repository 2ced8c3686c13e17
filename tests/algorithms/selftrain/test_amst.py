"""Stage 1 against numpy: the value of Eq. 7, and who learns from which view."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.selftrain.amst import Targeted, Views, head_loss, stage1_loss
from dreamda_jax.algorithms.selftrain.heads import MULTI_HEAD, SINGLE_HEAD
from tests.support import linear_network as linear
from tests.support.linear_network import CLASSES, CLOSE, FEATURES, LINEAR, STATS

ROWS = 6
KEY = jax.random.key(0)
BATCH = Targeted(linear.some_images(1, ROWS), linear.some_targets(2, ROWS))
LAYOUTS = {"multi": dict(MULTI_HEAD), "single": dict(SINGLE_HEAD)}


def run(network, params, *, weight=0.001, dropout_rate=0.0, batch=BATCH):
    """((loss, (batch_stats, method_state, metrics)), gradients)."""
    loss = stage1_loss(network, dropout_rate=dropout_rate, orthogonality_weight=weight)
    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    return step(params, STATS, {"kept": jnp.float32(7)}, KEY, batch)


def expected_loss(params, *, weight, mix=False):
    params, views = linear.to_numpy(params), linear.flat_views(BATCH.images)
    targets = dict.fromkeys(views, np.asarray(BATCH.targets, np.float64))
    if mix:
        views = {name: 0.75 * view + 0.25 * view[::-1] for name, view in views.items()}
        targets = {name: 0.75 * rows + 0.25 * rows[::-1] for name, rows in targets.items()}
    features = {name: view @ params["classifier"]["backbone"] for name, view in views.items()}
    return linear.head_loss(params["heads"], features, targets, weight)


@pytest.mark.parametrize("weight", [0.0, 0.001, 0.5])
@pytest.mark.parametrize("name", list(LAYOUTS))
@pytest.mark.parametrize("mix", [False, True])
def test_value_is_that_of_equation_7(name, weight, mix):
    params = linear.some_params(3, LAYOUTS[name])
    network = LINEAR._replace(mix=linear.mixed) if mix else LINEAR
    (value, (batch_stats, method_state, metrics)), _ = run(network, params, weight=weight)
    expected, hits = expected_loss(params, weight=weight, mix=mix)
    np.testing.assert_allclose(value, expected, **CLOSE)
    np.testing.assert_allclose(metrics["accuracy"], np.mean(hits), rtol=1e-6)
    assert len(hits) == (4 if name == "multi" else 2)
    # Both views went through the network as one batch; the method's state is handed on.
    assert int(batch_stats["seen"]) == 2 * ROWS
    assert float(method_state["kept"]) == 7


def test_orthogonality_is_measured_whatever_its_weight():
    params = linear.some_params(3, LAYOUTS["multi"])
    (without, (_, _, metrics)), _ = run(LINEAR, params, weight=0.0)
    (with_it, _), _ = run(LINEAR, params, weight=0.5)
    penalty = expected_loss(params, weight=1.0)[0] - expected_loss(params, weight=0.0)[0]
    assert penalty > 1
    np.testing.assert_allclose(metrics["orthogonality"], penalty, rtol=1e-5)
    np.testing.assert_allclose(with_it - without, 0.5 * penalty, rtol=1e-5)
    (_, (_, _, metrics)), _ = run(LINEAR, linear.some_params(3, LAYOUTS["single"]))
    assert metrics["orthogonality"] == 0


def numpy_gradients(params, *, weight):
    """Of Eq. 7, by hand: Xᵀ(p − t)/b, and λ (sign of W₁ᵀW₂) times the partner."""
    params, views = linear.to_numpy(params), linear.flat_views(BATCH.images)
    targets = np.asarray(BATCH.targets, np.float64)
    backbone = np.zeros_like(params["classifier"]["backbone"])
    kernels = {kind: np.zeros_like(head["kernel"]) for kind, head in params["heads"].items()}
    for kind, head in params["heads"].items():
        for place, (kernel, bias) in enumerate(zip(head["kernel"], head["bias"], strict=True)):
            for view in ("weak", "strong") if kind == "both" else (kind,):
                features = views[view] @ params["classifier"]["backbone"]
                error = (linear.softmax(features @ kernel + bias) - targets) / ROWS
                kernels[kind][place] += features.T @ error
                backbone += views[view].T @ error @ kernel.T
        if len(head["kernel"]) == 2:
            first, second = head["kernel"]
            sign = np.sign(first.T @ second)
            kernels[kind][0] += weight * second @ sign.T
            kernels[kind][1] += weight * first @ sign
    return backbone, kernels


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_gradients_are_those_by_hand(name):
    """So every head learns from its own view and no other, and the backbone from all."""
    params = linear.some_params(4, LAYOUTS[name])
    _, gradients = run(LINEAR, params, weight=0.1)
    backbone, kernels = numpy_gradients(params, weight=0.1)
    np.testing.assert_allclose(gradients["classifier"]["backbone"], backbone, **CLOSE)
    for kind, expected in kernels.items():
        np.testing.assert_allclose(gradients["heads"][kind]["kernel"], expected, **CLOSE)
    # The classifier's own head is not trained.
    np.testing.assert_array_equal(gradients["classifier"]["head"], 0)


def other_view(key, images):
    del key
    return jnp.sin(images / 7.0)


@pytest.mark.parametrize(("view", "untouched"), [("strong", "weak"), ("weak", "strong")])
@pytest.mark.parametrize("dropout_rate", [0.0, 0.4])
def test_another_view_leaves_the_other_heads_alone(view, untouched, dropout_rate):
    params = linear.some_params(5, LAYOUTS["multi"])
    _, gradients = run(LINEAR, params, dropout_rate=dropout_rate)
    network = LINEAR._replace(**{view: other_view})
    _, changed = run(network, params, dropout_rate=dropout_rate)
    for leaf in ("kernel", "bias"):
        np.testing.assert_array_equal(
            gradients["heads"][untouched][leaf], changed["heads"][untouched][leaf]
        )
        assert np.all(
            np.asarray(gradients["heads"][view][leaf]) != np.asarray(changed["heads"][view][leaf])
        )
    difference = gradients["classifier"]["backbone"] - changed["classifier"]["backbone"]
    assert np.abs(difference).max() > 0.01


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_the_backbone_learns_from_each_view_alone(view):
    """The other view is black: through a linear backbone it gives no gradient."""
    params = linear.some_params(5, LAYOUTS["multi"])
    other = "strong" if view == "weak" else "weak"
    black = LINEAR._replace(**{other: lambda _, images: jnp.zeros(images.shape)})
    _, gradients = run(black, params)
    assert np.abs(gradients["classifier"]["backbone"]).max() > 0.1
    _, alone = run(black._replace(**{view: lambda _, images: jnp.zeros(images.shape)}), params)
    np.testing.assert_array_equal(alone["classifier"]["backbone"], 0)


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_the_single_head_sees_both_views(view):
    params = linear.some_params(5, LAYOUTS["single"])
    _, gradients = run(LINEAR, params)
    _, changed = run(LINEAR._replace(**{view: other_view}), params)
    difference = gradients["heads"]["both"]["kernel"] - changed["heads"]["both"]["kernel"]
    assert np.abs(difference).max() > 0.01


@pytest.mark.parametrize("layout", [{"weak": 1, "strong": 1}, {"both": 1}])
def test_each_view_is_behind_a_dropout_mask_of_its_own(layout):
    """The gradient of a feature is zero where it was dropped."""
    heads = linear.some_params(6, layout)["heads"]
    rows, rate = 400, 0.3
    targets = jnp.asarray(linear.some_targets(7, rows))

    def loss(features):
        seen = {name: Views(part, targets) for name, part in features.items()}
        return head_loss(heads, seen, KEY, dropout_rate=rate, orthogonality_weight=0.0)[0]

    ones = {name: jnp.ones((rows, FEATURES)) for name in ("weak", "strong")}
    masks = {name: np.asarray(part) != 0 for name, part in jax.grad(loss)(ones).items()}
    for mask in masks.values():
        deviation = np.sqrt(rate * (1 - rate) / mask.size)
        assert abs(mask.mean() - (1 - rate)) < 4 * deviation
    both = (1 - rate) ** 2
    deviation = np.sqrt(both * (1 - both) / masks["weak"].size)
    assert abs((masks["weak"] & masks["strong"]).mean() - both) < 4 * deviation


def test_without_views_that_differ_the_kinds_are_alike():
    """Two kinds with the same kernels on the same view: the loss is twice that of one."""
    heads = linear.some_params(6, {"weak": 2})["heads"]
    both = {"weak": heads["weak"], "strong": heads["weak"]}
    features = jnp.asarray(np.random.default_rng(8).standard_normal((ROWS, FEATURES)), jnp.float32)
    seen = dict.fromkeys(("weak", "strong"), Views(features, jnp.asarray(BATCH.targets)))
    options = {"dropout_rate": 0.0, "orthogonality_weight": 0.3}
    one, _ = head_loss(heads, seen, KEY, **options)
    two, _ = head_loss(both, seen, KEY, **options)
    np.testing.assert_allclose(two, 2 * one, rtol=1e-6)
    assert BATCH.targets.shape == (ROWS, CLASSES)
