"""Text-to-image, SDEdit and Bag of Tricks against the algorithm written out row by row."""

import jax
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion.keys import Stream
from dreamda_jax.data.sources import Example
from dreamda_jax.synthesis.bag_of_tricks import DOMAINS, BagOfTricks
from dreamda_jax.synthesis.sdedit import SDEdit
from dreamda_jax.synthesis.text_to_image import TextToImage
from tests.support import plain_by_hand
from tests.support.toy_network import SCHEDULER, ToyStableDiffusion

SHORT = {"num_inference_steps": 5, "guidance_scale": 2.0}
NAMES = ("t-shirt", "ankle_boot")


def run(model, method, inputs):
    made = jax.jit(lambda i: method.synthesize(model, {}, i, keep_trajectory=True))(inputs)
    return jax.tree.map(np.asarray, made)


def assert_same(outputs, seed, variant, latents, model):
    # Five float32 steps; the network's slope and guidance magnify a rounding some ten times.
    np.testing.assert_allclose(outputs.trajectory[seed, variant, -1], latents, rtol=1e-4, atol=1e-4)
    image = np.asarray(model.decode_latents({}, latents[None])[0]).astype(int)
    assert np.abs(outputs.images[seed, variant].astype(int) - image).max() <= 1


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("most", [0, 1])
def test_text_to_image(eta, most):
    model, method = ToyStableDiffusion(), TextToImage(**SHORT, eta=eta, variants_per_pass=most)
    method.check(model)
    inputs = plain_by_hand.make_inputs(model)
    outputs = run(model, method, inputs)
    assert outputs.images.shape == (2, 3, 8, 8, 3)
    assert outputs.trajectory.shape == (2, 3, 5, 4, 8, 8)
    for seed, variant in ((0, 1), (1, 2)):
        latents = plain_by_hand.reverse(
            *(model, plain_by_hand.key_of(seed, variant), inputs.contexts[seed, variant]),
            *(inputs.empty_context,),
            **{"steps": 5, "strength": 1, "eta": eta, "scale": 2.0},
        )
        assert_same(outputs, seed, variant, latents, model)
    rms = np.sqrt(np.mean(np.square(outputs.trajectory)))
    assert 0.2 * rms < outputs.site_rms < 5 * rms  # x_t before each step, x_{t⁻} after it


def test_text_to_image_does_not_look_at_the_seed_image():
    model, method = ToyStableDiffusion(), TextToImage(**SHORT)
    inputs = plain_by_hand.make_inputs(model)
    black = run(model, method, inputs._replace(images=np.zeros_like(inputs.images)))
    np.testing.assert_array_equal(black.images, run(model, method, inputs).images)


@pytest.mark.parametrize(("strength", "eta"), [(0.6, 0.0), (1.0, 0.5), (0.4, 1.0)])
def test_sdedit(strength, eta):
    model = ToyStableDiffusion()
    method = SDEdit(**SHORT, strength=strength, eta=eta)
    method.check(model)
    inputs = plain_by_hand.make_inputs(model)
    outputs = run(model, method, inputs)
    x0 = model.encode_image({}, inputs.images)
    assert outputs.trajectory.shape[2] == int(5 * strength)
    for seed, variant in ((0, 0), (1, 1)):
        latents = plain_by_hand.reverse(
            *(model, plain_by_hand.key_of(seed, variant), inputs.contexts[seed, variant]),
            *(inputs.empty_context,),
            **{"steps": 5, "strength": strength, "eta": eta, "scale": 2.0, "x0": x0[seed]},
        )
        assert_same(outputs, seed, variant, latents, model)


def test_sdedit_moves_further_with_strength():
    model = ToyStableDiffusion()
    inputs = plain_by_hand.make_inputs(model)
    x0 = np.asarray(model.encode_image({}, inputs.images))[:, None]
    moved = [
        np.square(run(model, SDEdit(**SHORT, strength=s), inputs).trajectory[:, :, -1] - x0).mean()
        for s in (0.2, 0.6, 1.0)
    ]
    assert moved == sorted(moved)
    assert moved[-1] > 2 * moved[0]


@pytest.mark.parametrize("trick", ["class_prompt", "multi_domain", "random_guidance", "merged"])
def test_bag_of_tricks(trick):
    model = ToyStableDiffusion()
    method = BagOfTricks(**SHORT, trick=trick)
    method.check(model)
    inputs = plain_by_hand.make_inputs(model)
    outputs = run(model, method, inputs)
    for seed, variant in ((0, 0), (0, 2), (1, 1)):
        key, scale = plain_by_hand.key_of(seed, variant), 2.0
        # Numbers 4, 0, 2: of a mixture, 2 is the one that draws.
        number = plain_by_hand.VARIANTS[variant]
        if trick == "random_guidance" or (trick == "merged" and number % 3 == 2):
            drawn = plain_by_hand.draw(
                key, 0, Stream.GUIDANCE, (1, 1, 1), distribution=jax.random.uniform
            )
            scale = 1 + 4 * float(drawn[0, 0, 0])
        latents = plain_by_hand.reverse(
            *(model, key, inputs.contexts[seed, variant], inputs.empty_context),
            **{"steps": 5, "strength": 1, "eta": 0, "scale": scale},
        )
        assert_same(outputs, seed, variant, latents, model)


def choose(trick, seed, variant, draw_seed=0):
    prompts = BagOfTricks(trick=trick).prompts(
        lambda seed, variant: "given", label_names=NAMES, draw_seed=draw_seed
    )
    return prompts(seed, variant)


def test_prompts_of_the_tricks():
    boots = [Example(index, f"{index}.png", 1, b"") for index in range(8)]
    assert choose("class_prompt", boots[0], 7) == "ankle boot"
    assert choose("random_guidance", boots[0], 7) == "given"
    domains = [f"a {domain} of a ankle boot" for domain in DOMAINS]
    for seed in boots:
        drawn = [choose("multi_domain", seed, variant) for variant in range(10)]
        assert sorted(drawn) == sorted(domains)
        mixed = [choose("merged", seed, variant) for variant in range(30)]
        assert mixed[::3] == ["ankle boot"] * 10
        assert sorted(mixed[1::3]) == sorted(domains)
        assert mixed[2::3] == ["given"] * 10
    firsts = {choose("multi_domain", seed, 0) for seed in boots}
    assert len(firsts) > 2
    assert firsts != {choose("multi_domain", seed, 0, draw_seed=1) for seed in boots} or len(
        firsts
    ) == len(DOMAINS)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (TextToImage, {"guidance_scale": -1.0}, "guidance_scale"),
        (SDEdit, {"variants_per_pass": -1}, "variants_per_pass"),
        (BagOfTricks, {"trick": "all"}, "class_prompt, multi_domain"),
        (BagOfTricks, {"guidance_scale_max": 0.5}, "guidance_scale_max=0.5 is below"),
    ],
)
def test_options_that_are_refused(method, options, message):
    with pytest.raises(ValueError, match=message):
        method(**options)


def test_steps_that_do_not_fit_the_model_are_refused():
    model = ToyStableDiffusion(SCHEDULER)
    for method in (TextToImage(num_inference_steps=0), SDEdit(strength=0.001), SDEdit(strength=2)):
        with pytest.raises(ValueError, match=r"num_inference_steps|strength"):
            method.check(model)
