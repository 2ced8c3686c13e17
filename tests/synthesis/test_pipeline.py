"""The Python API."""

import jax
import numpy as np
import pytest
from PIL import Image

from dreamda_jax.generate import cost
from dreamda_jax.runtime import devices as mesh
from dreamda_jax.synthesis import program as program_lib
from dreamda_jax.synthesis.diffusion_inversion import DiffusionInversion
from dreamda_jax.synthesis.embeddings import Embeddings
from dreamda_jax.synthesis.pipeline import DreamDAPipeline
from dreamda_jax.synthesis.sdedit import SDEdit

OPTIONS = {"num_inference_steps": 5, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def loaded(micro_checkpoint):
    return DreamDAPipeline.from_pretrained(str(micro_checkpoint))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), dtype=np.uint8)


def test_another_method(loaded, images):
    pipeline, params = loaded
    method, key = SDEdit(num_inference_steps=5, strength=0.6, guidance_scale=1.0), jax.random.key(3)
    out = pipeline(
        params, images, "a bag", key, num_variants=2, method=method, return_trajectory=True
    )
    assert out.images.shape == (3, 2, 8, 8, 3)
    assert out.trajectory.shape[2] == 3
    with pytest.raises(ValueError, match="eta: these belong into the method"):
        pipeline(params, images, "a bag", key, method=method, eta=1.0)
    with pytest.raises(ValueError, match=r"use python -m dreamda_jax\.generate"):
        pipeline(params, images, "a bag", key, method=DiffusionInversion())


@pytest.mark.slow
def test_presets_give_way_to_options(loaded, images):
    pipeline, params = loaded

    def steps(**options):
        out = pipeline(
            params,
            images[:1],
            "a bag",
            jax.random.key(3),
            num_variants=1,
            guidance_scale=1.0,
            return_trajectory=True,
            **options,
        )
        return out.trajectory.shape[2]

    assert steps(preset="fast") == 16  # int(20 * 0.8)
    assert steps(preset="fast", num_inference_steps=5) == 4
    with pytest.raises(ValueError, match=r"unknown preset 'quick' \(there are: paper, fast\)"):
        steps(preset="quick")
    with pytest.raises(ValueError, match="one of DreamDA, not of sdedit"):
        pipeline(params, images, "a bag", jax.random.key(3), preset="fast", method=SDEdit())


def test_call_with_a_trajectory(loaded, images):
    pipeline, params = loaded
    key = jax.random.key(3)
    out = pipeline(params, images, "a bag", key, num_variants=2, return_trajectory=True, **OPTIONS)
    assert out.images.shape == (3, 2, 8, 8, 3)
    assert out.images.dtype == np.uint8
    assert out.trajectory.shape == (3, 2, 4, 4, 4, 4)  # seeds, variants, int(5 * 0.8) steps, latent
    assert np.isfinite(out.trajectory).all()
    assert out.site_rms > 0
    # Raw keys and PIL images mean the same.
    pictures = [Image.fromarray(image) for image in images]
    raw = jax.random.key_data(key)
    same = pipeline(
        params, pictures, ["a bag"] * 3, raw, num_variants=2, return_trajectory=True, **OPTIONS
    )
    np.testing.assert_array_equal(same.images, out.images)
    # Another key, other images.
    other = pipeline(
        params,
        images,
        "a bag",
        jax.random.key(4),
        num_variants=2,
        return_trajectory=True,
        **OPTIONS,
    )
    assert (other.images != out.images).any()


def test_the_callers_layout_of_random_bits_changes_nothing(loaded, images):
    made = []
    for partitionable in (True, False):
        pipeline = DreamDAPipeline(loaded[0].model)  # which has compiled nothing
        with jax.threefry_partitionable(partitionable):
            key = jax.random.key(3)
            out = pipeline(loaded[1], images[:1], "a bag", key, num_variants=1, **OPTIONS)
        made.append(out.images)
    np.testing.assert_array_equal(*made)


def test_bad_arguments(loaded, images):
    pipeline, params = loaded
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="3 images need as many prompts, got 2"):
        pipeline(params, images, ["a", "b"], key)
    with pytest.raises(ValueError, match="strength must be in"):
        pipeline(params, images, "a", key, strength=0.0)
    with pytest.raises(TypeError, match="noise_scal"):
        pipeline(params, images, "a", key, noise_scal=1.0)
    with pytest.raises(ValueError, match="must be square"):
        pipeline(params, images[:, :4], "a", key, num_variants=1, **OPTIONS)


def test_prompts_are_encoded_once(loaded, monkeypatch):
    pipeline, params = loaded
    embeddings = pipeline.embeddings(params)
    prompts = [f"prompt {i % 20}" for i in range(40)]
    embeddings.request(prompts[:5])
    first = embeddings.get(prompts)
    assert len(first) == 20
    assert first["prompt 0"].shape == (16, 48)
    tokens = pipeline.model.tokenize(["prompt 7"])
    alone = jax.jit(pipeline.model.encode_text)(params, tokens)[0]
    np.testing.assert_allclose(first["prompt 7"], alone, atol=1e-5)  # another batch size
    monkeypatch.setattr(pipeline, "_encode_text", None)  # a call would fail
    again = embeddings.get(prompts)
    assert all(again[prompt] is first[prompt] for prompt in prompts)


def test_old_embeddings_make_room_and_are_encoded_again_when_needed():
    encoded: list[str] = []

    def encode(prompts):
        encoded.extend(prompts)
        return lambda: np.array([[[float(p)]] for p in prompts + ["0"] * (2 - len(prompts))])

    embeddings = Embeddings(encode, prompts_per_call=2, capacity=3)
    embeddings.get(["1", "2", "3"])
    embeddings.get(["1", "4"])  # 2 is the one not used for longest
    assert embeddings.get(["1", "3", "4"])["3"] == 3.0
    assert encoded == ["1", "2", "3", "4"]
    assert embeddings.get(["2"])["2"] == 2.0
    assert encoded == ["1", "2", "3", "4", "2"]
    assert len(embeddings.get([str(i) for i in range(5)])) == 5  # more than it may keep
    # One that made room and is wanted again stands behind what was requested for later.
    embeddings.request(["6", "7", "8", "9"])
    assert embeddings.get(["0"])["0"] == 0.0


def test_nothing_leaves_the_devices_while_a_batch_is_made(loaded, images):
    """With its inputs there, a call moves nothing between host and devices."""
    pipeline, params = loaded
    devices = jax.local_device_count()
    method = SDEdit(num_inference_steps=5, strength=0.6)
    method.check(pipeline.model)
    inputs = cost.abstract_inputs(
        *(pipeline.model, method), resolution=8, num_seeds=1, num_variants=2
    )
    inputs = jax.tree.map(
        lambda x: np.ones(x.shape, x.dtype), mesh.rows_of_all(inputs, program_lib.INPUTS)
    )
    place = mesh.map_devices(
        lambda inputs: inputs, (program_lib.INPUTS,), results=program_lib.INPUTS
    )
    inputs = place(inputs)
    program = pipeline.program(method)
    jax.block_until_ready(program(params, inputs))  # compiles
    with jax.transfer_guard("disallow"):
        outputs = jax.block_until_ready(program(params, inputs))
    assert outputs.images.shape == (devices, 2, 8, 8, 3)
    assert outputs.site_rms.shape == (devices,)
