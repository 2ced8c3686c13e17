"""Guided imagination against the algorithm written out image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion import imagination
from dreamda_jax.algorithms.diffusion.keys import Stream
from dreamda_jax.data.sources import Example
from dreamda_jax.models.clip import encoder as clip
from dreamda_jax.synthesis.gif import ADJECTIVES, DOMAINS, Gif
from tests.support import plain_by_hand
from tests.support.toy_network import ToyStableDiffusion

SHORT = {"num_inference_steps": 5, "strength": 0.6, "guidance_scale": 2.0}
SIZE = 6  # of a toy CLIP's features
RNG = np.random.default_rng(8)
WEIGHTS = RNG.normal(size=(8 * 8 * 3, SIZE)).astype(np.float32) / 8
CLASSES = RNG.normal(size=(3, SIZE)).astype(np.float32)
CLASSES /= np.linalg.norm(CLASSES, axis=-1, keepdims=True)
PARAMS = {"clip": {"text_embeddings": CLASSES, "logit_scale": np.log(np.float32(8))}}


def embed(params, pixels):
    del params
    hidden = jnp.tanh(jnp.asarray(pixels, jnp.float32).reshape(len(pixels), -1) / 255 @ WEIGHTS)
    return hidden / jnp.linalg.norm(hidden, axis=-1, keepdims=True)


GUIDE = clip.Guide(embed, embed, {"text_embeddings": CLASSES}, lambda place: PARAMS["clip"], "toy")


def run(method, inputs):
    model = ToyStableDiffusion()
    made = jax.jit(lambda i: method.synthesize(model, PARAMS, i, keep_trajectory=True))(inputs)
    return jax.tree.map(np.asarray, made)


def by_hand(method, inputs, seed):
    """The final latents of one seed's variants, [n, 4, 8, 8], before and after imagination."""
    model = ToyStableDiffusion()
    x0 = model.encode_image({}, inputs.images)[seed]
    edited, gains, biases = [], [], []
    for variant in range(3):
        key = plain_by_hand.key_of(seed, variant)
        edited.append(
            plain_by_hand.reverse(
                *(model, key, inputs.contexts[seed, variant], inputs.empty_context),
                **{"steps": 5, "strength": 0.6, "eta": 0, "scale": 2.0, "x0": x0},
            )
        )
        shape = (4, 1, 1)
        gains.append(plain_by_hand.draw(key, 0, Stream.GAIN, shape, jax.random.uniform))
        biases.append(plain_by_hand.draw(key, 0, Stream.BIAS, shape))
    edited, gains, biases = map(jnp.stack, (edited, gains, biases))

    def total(gains, biases):  # of all variants at once, nothing taken apart
        moved = edited * (1 + gains) + biases
        pixels = (jnp.clip(model.decode_latents_float({}, moved), -1, 1) + 1) * 127.5
        features = embed(None, pixels)
        seed_features = embed(None, inputs.images[seed : seed + 1])[0]
        return imagination.score(features, seed_features, CLASSES, 8.0).sum()

    of_gains, of_biases = jax.grad(total, argnums=(0, 1))(gains, biases)
    gains = gains + method.step_size * jnp.sign(of_gains)
    biases = biases + method.step_size * jnp.sign(of_biases)
    moved = edited * (1 + gains) + biases
    return edited, jnp.clip(moved, edited - method.epsilon, edited + method.epsilon)


@pytest.mark.parametrize("options", [{}, {"epsilon": 0.2, "variants_per_pass": 1}])
def test_images_against_the_algorithm_written_out(options):
    method = Gif(**{**SHORT, **options}, clip=GUIDE)
    method.check(ToyStableDiffusion())
    inputs = plain_by_hand.make_inputs(ToyStableDiffusion())
    outputs = run(method, inputs)
    for seed in range(2):
        edited, moved = jax.jit(lambda inputs, seed=seed: by_hand(method, inputs, seed))(inputs)
        np.testing.assert_allclose(outputs.trajectory[seed, :, -1], edited, rtol=1e-4, atol=1e-4)
        images = np.asarray(ToyStableDiffusion().decode_latents({}, moved))
        # A whole step of 0.1 would move pixels by ten: a wrong sign would be seen.
        assert np.abs(outputs.images[seed].astype(int) - images.astype(int)).max() <= 1


def test_one_step_raises_the_score():
    inputs = plain_by_hand.make_inputs(ToyStableDiffusion())

    def score(step_size):
        images = run(Gif(**SHORT, epsilon=9.0, step_size=step_size, clip=GUIDE), inputs).images
        features = jnp.stack([embed(None, of_seed) for of_seed in images])
        of_seeds = embed(None, inputs.images)
        return float(jnp.sum(imagination.score(features, of_seeds, CLASSES, 8.0)))

    assert score(0.05) > score(0.0)


def test_epsilon_bounds_what_is_moved():
    inputs = plain_by_hand.make_inputs(ToyStableDiffusion())
    none = run(Gif(**SHORT, epsilon=0.0, clip=GUIDE), inputs)
    plain = np.asarray(
        ToyStableDiffusion().decode_latents({}, none.trajectory[:, :, -1].reshape(6, 4, 8, 8))
    )
    np.testing.assert_array_equal(none.images.reshape(plain.shape), plain)


def test_prompts_are_drawn_for_each_image():
    method = Gif()
    prompts = method.prompts(
        lambda seed, variant: "given", label_names=("ankle_boot",), draw_seed=0
    )
    seeds = [Example(index, "", 0, b"") for index in range(50)]
    drawn = [[prompts(seed, variant) for variant in range(8)] for seed in seeds]
    every = {" ".join(f"{d} {a} ankle boot".split()) for d in DOMAINS for a in ADJECTIVES}
    assert len(every) == 50
    assert {prompt for row in drawn for prompt in row} == every
    assert len({tuple(row) for row in drawn}) == 50
    given = Gif(prompt_style="given").prompts(
        lambda seed, variant: "given", label_names=("ankle_boot",), draw_seed=0
    )
    assert given(seeds[0], 0) == "given"


@pytest.mark.slow
def test_the_guide_of_a_real_clip_has_a_gradient():
    """The smooth preprocessing sees what the rounded one sees, and can be differentiated."""
    guide = clip.open_guide("sample", prompts=["a photo of a bag", "a photo of a coat"])
    params = guide.load(jnp.asarray)
    shapes = jax.tree.map(jnp.shape, guide.shapes)
    assert jax.tree.map(jnp.shape, params) == shapes
    images = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    exact = guide.embed_images(params, images)
    smooth = guide.embed_pixels(params, images.astype(np.float32))
    # The tiny CLIP sees 32 pixels: nothing is resized, so nothing is rounded.
    np.testing.assert_allclose(smooth, exact, atol=1e-5)
    pixels = images.astype(np.float32)

    def similarity(pixels):
        return jnp.sum(guide.embed_pixels(params, pixels) @ params["text_embeddings"][0])

    gradient = np.asarray(jax.grad(similarity)(pixels))
    direction = gradient / np.linalg.norm(gradient)
    step = 2.0
    rise = similarity(pixels + step * direction) - similarity(pixels - step * direction)
    assert rise / (2 * step) == pytest.approx(np.linalg.norm(gradient), rel=0.05)
    zero_shot = clip.open_zero_shot("sample", prompts=["a photo of a bag", "a photo of a coat"])
    logits = np.exp(params["logit_scale"]) * exact @ params["text_embeddings"].T
    np.testing.assert_allclose(
        jax.nn.softmax(logits), zero_shot.classify(zero_shot.params, images), atol=1e-5
    )
