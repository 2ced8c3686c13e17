"""Diffusion Inversion: its loss, its learning and its sampling against the algorithm in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion.denoising_loss import Draw
from dreamda_jax.algorithms.diffusion.keys import Stream
from dreamda_jax.data.loader import Seed
from dreamda_jax.generate.conditions import LearnedEmbeddings
from dreamda_jax.synthesis import diffusion_inversion
from dreamda_jax.synthesis.diffusion_inversion import DiffusionInversion
from dreamda_jax.synthesis.method import Inputs
from tests.support import plain_by_hand
from tests.support.learnable_toy import CHANNELS, TOKENS, LearnableToy
from tests.support.toy_network import SCHEDULER

ROOT = jax.random.key_data(jax.random.key(11))
ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)


class MeanOfContext(LearnableToy):
    """Predicts the mean of its context's tokens at every place: the best context is known."""

    def denoise(self, params, latents, timestep, context, **options):
        return jnp.broadcast_to(context.mean(axis=1)[:, :, None, None], latents.shape)


def toy(prediction_type="epsilon"):
    return LearnableToy(SCHEDULER._replace(prediction_type=prediction_type))


def make_images(count):
    return np.random.default_rng(3).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)


def keys_of(seed_ids):
    return np.asarray(keys_lib.seed_keys(ROOT, np.asarray(seed_ids)))


def fold(key, *numbers):
    return functools.reduce(jax.random.fold_in, numbers, key)


def toy_network_in_numpy(x, t, context):
    """`ToyUNet` of one row [4, 8, 8], in float64."""
    first = np.moveaxis(x, 0, -1)
    temb = np.cos(t / 500 + np.arange(4))
    inner = np.tanh(first + temb)
    outer = inner + 0.3 * np.roll(first, 1, axis=0) * context[0]
    hidden = outer + np.sin(outer * context[1]) * temb
    for skip in (outer, inner, first):
        hidden = np.tanh(hidden + np.roll(skip, 1, axis=1))
    return np.moveaxis(hidden + 0.2 * context.mean(axis=0), -1, 0)


def posterior_in_numpy(image):
    pixels = image.astype(np.float64) / 127.5 - 1
    mean = np.moveaxis(np.concatenate([pixels, pixels.mean(axis=-1, keepdims=True)], -1), -1, 0)
    return mean, 0.1 + 0.2 * np.abs(mean)


def loss_by_hand(context, image, own_key, step, prediction_type="epsilon"):
    """Of one image at one step, float64."""
    key = fold(own_key, step, Stream.LEARNING)
    t = int(jax.random.randint(fold(key, Draw.TIMESTEP), (), 0, 1000))
    noise = np.float64(jax.random.normal(fold(key, Draw.NOISE), (4, 8, 8)))
    mean, std = posterior_in_numpy(image)
    x0 = mean + std * np.float64(jax.random.normal(fold(key, Draw.POSTERIOR), (4, 8, 8)))
    signal, sigma = np.sqrt(ALPHAS[t]), np.sqrt(1 - ALPHAS[t])
    target = noise if prediction_type == "epsilon" else signal * noise - sigma * x0
    output = toy_network_in_numpy(signal * x0 + sigma * noise, t, context)
    return np.mean((output - target) ** 2)


def learn(model, method, images, keys, params=None):
    """`Learning` after all steps, in as many calls as the method makes."""
    params = {} if params is None else params
    start = jax.jit(functools.partial(method.start, model))
    proceed = jax.jit(functools.partial(method.learn, model))
    state, losses = start(params, images, keys), []
    for first in range(0, method.learning_steps, method.steps_per_call):
        state = proceed(params, state, keys, np.int32(first))
        losses.append(np.asarray(state.losses))
    return jax.tree.map(np.asarray, state), losses


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_loss_is_that_of_the_documented_draws(prediction_type):
    model, method = toy(prediction_type), DiffusionInversion(num_tokens=TOKENS)
    images, ids = make_images(5), [4, 0, 9, 1, 7]
    own = [fold(ROOT, index, 0) for index in ids]
    contexts = np.random.default_rng(1).normal(size=(5, TOKENS, CHANNELS)).astype(np.float32)
    mean, std = model.encode_posterior({}, images)
    for step in (0, 3, 2999):
        step_keys = jnp.stack([fold(key, step, Stream.LEARNING) for key in own])
        total, each = method.losses(model, {}, contexts, mean, std, step_keys)
        expected = [
            loss_by_hand(np.float64(context), image, key, step, prediction_type)
            for context, image, key in zip(contexts, images, own, strict=True)
        ]
        np.testing.assert_allclose(each, expected, rtol=1e-5)
        np.testing.assert_allclose(total, np.sum(expected), rtol=1e-5)


def test_learning_starts_within_a_tenth_of_nothing_and_from_the_own_key():
    model, method = toy(), DiffusionInversion(num_tokens=300)
    images, ids = make_images(2), [6, 2]
    state = method.start(model, {}, images, keys_of(ids))
    assert state.embeddings.shape == (2, 300, CHANNELS) == (2, *method.embedding_shape(model))
    assert state.embeddings.dtype == np.float32
    for row, index in enumerate(ids):
        key = fold(ROOT, index, 0, 0, Stream.EMBEDDING)
        drawn = 0.2 * np.asarray(jax.random.uniform(key, (300, CHANNELS))) - 0.1
        np.testing.assert_allclose(state.embeddings[row], drawn, atol=1e-7)
    assert -0.1 <= state.embeddings.min() < -0.098
    assert 0.098 < state.embeddings.max() <= 0.1
    mean, std = posterior_in_numpy(images[1])
    np.testing.assert_allclose(state.mean[1], mean, atol=1e-6)
    np.testing.assert_allclose(state.std[1], std, atol=1e-6)


def slope(function, point, width=1e-5):
    """Central differences of every number, float64."""
    gradient = np.zeros_like(point)
    for place in np.ndindex(point.shape):
        moved = np.zeros_like(point)
        moved[place] = width
        gradient[place] = (function(point + moved) - function(point - moved)) / (2 * width)
    return gradient


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_learning_is_adamw_written_out_by_hand(prediction_type):
    """Loshchilov & Hutter, Algorithm 2, on slopes of the loss by hand; in float64."""
    rate, decay, steps, ids = 0.03, 0.25, 6, [4, 9]  # so much decay that it is seen in six steps
    method = DiffusionInversion(
        num_tokens=TOKENS, learning_steps=steps, learning_rate=rate, weight_decay=decay
    )
    images = make_images(2)
    state, losses = learn(toy(prediction_type), method, images, keys_of(ids))
    for row, index in enumerate(ids):
        own = fold(ROOT, index, 0)
        start = jax.random.uniform(fold(own, 0, Stream.EMBEDDING), (TOKENS, CHANNELS))
        embedding = 0.2 * np.float64(start) - 0.1
        first, second, seen = np.zeros_like(embedding), np.zeros_like(embedding), []
        for step in range(steps):
            loss = functools.partial(
                loss_by_hand,
                **{"image": images[row], "own_key": own, "step": step},
                prediction_type=prediction_type,
            )
            gradient = slope(loss, embedding)
            seen.append(loss(embedding))
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            mean = first / (1 - 0.9 ** (step + 1))
            variance = second / (1 - 0.999 ** (step + 1))
            embedding = embedding - rate * (mean / (np.sqrt(variance) + 1e-8) + decay * embedding)
        # Adam divides a gradient by its size, so float32 roundings of small ones are magnified.
        np.testing.assert_allclose(state.embeddings[row], embedding, atol=2e-5)
        np.testing.assert_allclose(losses[0][row], np.mean(seen), rtol=1e-5)


def test_the_default_decay_is_the_decoupled_hundredth():
    """Without a slope only the decay is left: each step takes off rate times decay."""

    class Deaf(LearnableToy):
        def denoise(self, params, latents, timestep, context, **options):
            return latents

    method = DiffusionInversion(num_tokens=2, learning_steps=50)
    state, _ = learn(Deaf(), method, make_images(2), keys_of([0, 1]))
    start = method.start(Deaf(), {}, make_images(2), keys_of([0, 1])).embeddings
    np.testing.assert_allclose(state.embeddings, start * (1 - 0.03 * 0.01) ** 50, rtol=1e-5)


def test_an_image_learns_the_same_in_any_company():
    method = DiffusionInversion(num_tokens=TOKENS, learning_steps=20)
    images, keys = make_images(4), keys_of([4, 0, 9, 1])
    together, _ = learn(toy(), method, images, keys)
    alone, _ = learn(toy(), method, images[2:3], keys[2:3])
    turned, _ = learn(toy(), method, images[::-1].copy(), keys[::-1].copy())
    # Other shapes round otherwise, which twenty steps of Adam of 0.03 magnify.
    np.testing.assert_allclose(alone.embeddings[0], together.embeddings[2], atol=1e-4)
    np.testing.assert_allclose(turned.embeddings[::-1], together.embeddings, atol=1e-4)
    differences = np.abs(together.embeddings[:, None] - together.embeddings[None]).max(axis=(2, 3))
    assert (differences[~np.eye(4, dtype=bool)] > 0.05).all()


def test_steps_of_several_calls_are_those_of_one(monkeypatch):
    method = DiffusionInversion(num_tokens=TOKENS, learning_steps=12)
    images, keys = make_images(2), keys_of([4, 0])
    one, losses_of_one = learn(toy(), method, images, keys)
    monkeypatch.setattr(diffusion_inversion, "_MOST_STEPS_PER_CALL", 5)
    assert method.steps_per_call == 4
    several, losses = learn(toy(), method, images, keys)
    assert (len(losses_of_one), len(losses)) == (1, 3)
    np.testing.assert_allclose(several.embeddings, one.embeddings, atol=1e-6)
    np.testing.assert_allclose(np.mean(losses, axis=0), losses_of_one[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("steps", "each"), [(1, 1), (99, 99), (100, 100), (101, 1), (200, 100), (3000, 100), (202, 2)]
)
def test_steps_per_call_divide_all_steps(steps, each):
    assert DiffusionInversion(learning_steps=steps).steps_per_call == each


def test_what_can_be_learnt_is_learnt():
    """v = √ᾱ ε − √(1−ᾱ) x_0 is −E √(1−ᾱ) x_0 on average, which one channel of x_0 decides."""
    images = np.broadcast_to(np.uint8([[230, 128, 20]]), (2, 8, 8, 3)).copy()
    images[1] = 255 - images[1]
    method = DiffusionInversion(
        num_tokens=2, learning_steps=1000, learning_rate=0.01, weight_decay=0.0
    )
    model = MeanOfContext(SCHEDULER._replace(prediction_type="v_prediction"))
    state, losses = learn(model, method, images, keys_of([3, 8]))
    best = [-np.sqrt(1 - ALPHAS).mean() * posterior_in_numpy(image)[0][:, 0, 0] for image in images]
    # Steps of 0.01 on single draws stay about so far from the best.
    np.testing.assert_allclose(state.embeddings.mean(axis=1), best, atol=0.06)
    assert (np.mean(losses[-3:], axis=0) < np.mean(losses[:1], axis=0) - 0.02).all()


@pytest.mark.parametrize(
    "options",
    [
        {"embedding_noise": 0.3, "interpolation": 0.25},
        {"embedding_noise": 0.0, "interpolation": 0.0, "eta": 0.0, "variants_per_pass": 1},
        {"embedding_noise": 0.1, "interpolation": 1.0, "eta": 0.5, "guidance_scale": 1.0},
    ],
    ids=["usual", "own-embedding-alone", "neighbour-without-guidance"],
)
def test_sampling_equals_the_algorithm_written_out_row_by_row(options):
    settings = {"eta": 1.0, "guidance_scale": 2.0, **options}
    model, method = toy(), DiffusionInversion(num_inference_steps=5, **settings)
    method.check(model)
    rng = np.random.default_rng(2)
    learnt = rng.normal(size=(8, TOKENS, CHANNELS)).astype(np.float32)
    labels = np.array([0, 1, 0, 1, 1, 0, 0, 1])
    ids, variants = plain_by_hand.SEED_IDS, plain_by_hand.VARIANTS
    conditions = LearnedEmbeddings(
        *(learnt, labels, keys_of(range(8))), interpolation=method.interpolation, num_variants=3
    )
    seeds = [Seed(i, f"{i}", int(labels[i]), None, None, None, False) for i in map(int, ids)]
    found = conditions.get(seeds)
    inputs = Inputs(
        images=make_images(2),
        contexts=np.stack([found.of_seeds[seed.index] for seed in seeds]),
        source_context=found.source,
        empty_context=found.empty,
        keys=keys_of(ids),
        variants=np.int32(variants),
    )
    made = jax.jit(lambda i: method.synthesize(model, {}, i, keep_trajectory=True))(inputs)
    assert made.images.shape == (2, 3, 8, 8, 3)
    assert made.trajectory.shape == (2, 3, 5, 4, 8, 8)
    mean = np.float32(np.sum(np.float64(learnt), axis=0) / 8)
    for seed, variant in ((0, 1), (1, 2)):
        own = learnt[ids[seed]]
        # Which neighbour it is is said where records say it.
        neighbour = learnt[int(conditions.text(seeds[seed], variant).split()[-1])]
        key = plain_by_hand.key_of(seed, variant)
        noise = plain_by_hand.draw(key, 0, Stream.CONTEXT, own.shape)
        context = own + method.interpolation * (neighbour - own) + method.embedding_noise * noise
        latents = plain_by_hand.reverse(
            *(model, key, context, mean),
            **{"steps": 5, "strength": 1, "eta": method.eta, "scale": method.guidance_scale},
        )
        # Five float32 steps; the network's slope and guidance magnify a rounding some ten times.
        np.testing.assert_allclose(
            made.trajectory[seed, variant, -1], latents, rtol=1e-4, atol=1e-4
        )
        image = np.asarray(model.decode_latents({}, latents[None])[0]).astype(int)
        assert np.abs(np.asarray(made.images)[seed, variant].astype(int) - image).max() <= 1


@pytest.mark.parametrize(
    "option",
    [
        *({"num_tokens": 0}, {"learning_steps": 0}, {"learning_rate": 0.0}),
        *({"learning_rate": -1.0}, {"learning_rate": float("nan")}, {"learning_rate": np.inf}),
        *({"weight_decay": -0.1}, {"embedding_noise": -0.1}, {"guidance_scale": -1.0}),
        *({"variants_per_pass": -1}, {"interpolation": -0.1}, {"interpolation": 1.1}),
        {"interpolation": float("nan")},
    ],
    ids=str,
)
def test_options_that_are_refused(option):
    (name,) = option
    with pytest.raises(ValueError, match=name):
        DiffusionInversion(**option)


@pytest.mark.parametrize("option", [{"num_inference_steps": 0}, {"eta": 1.5}], ids=str)
def test_options_that_do_not_fit_the_schedule(option):
    (name,) = option
    with pytest.raises(ValueError, match=name):
        DiffusionInversion(**option).check(toy())


def test_nothing_is_learnt_in_float16():
    model = toy()
    model.dtype = np.float16
    with pytest.raises(ValueError, match="float16: embeddings cannot be learnt in it"):
        DiffusionInversion().check(model)
