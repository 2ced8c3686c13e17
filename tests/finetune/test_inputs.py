"""Latents and contexts: what the networks compute, once, and then what the disk has."""

import threading

import jax
import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.finetune import inputs
from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.runtime import devices
from dreamda_jax.runtime.sweep import View

COUNT, SIZE = 7, 8
VIEW = View(resolution=SIZE, crop="center", batch_size=4, num_workers=0)
PROMPTS = ["", "a bag", *(f"a photo of {i} boots" for i in range(17)), "a bag " * 20]
# Float32 sums in another order: other batches, split over two devices.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def micro(micro_checkpoint):
    """(model, params, mesh of all devices), parameters whole on each."""
    model, params = loading.load(micro_checkpoint)
    mesh = devices.training_mesh(1)
    assert mesh.size == 2
    return model, jax.device_put(params, devices.replicated(mesh)), mesh


@pytest.fixture(scope="module")
def pixels():
    """uint8 [m, 8, 8, 3]."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)


@pytest.fixture
def source(tmp_path, pixels):
    """The pixels as a folder: of the resolution asked for, so that reading changes nothing."""
    for i, image in enumerate(pixels):
        path = tmp_path / "images" / f"class{i // 4}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return open_folder(tmp_path / "images")


@pytest.fixture
def forbid(monkeypatch):
    """`forbid(name)`: a method of the model may not be called from then on."""

    def refuse(*args, **kwargs):
        raise AssertionError("computed again")

    return lambda name: monkeypatch.setattr(StableDiffusion, name, refuse)


def latents(micro, source, cache, **options):
    model, params, mesh = micro
    options = {"digest": "1", "view": VIEW, "flip": True, "stop": threading.Event(), **options}
    return inputs.compute_latents(source, model, params, mesh, cache=cache, **options)


def moments(micro, images):
    """[m, 2, 4, h, w]: mean and standard deviation of each image alone in a batch of all."""
    model, params, _ = micro
    return np.stack(jax.jit(model.encode_posterior)(params, images), axis=1)


def test_latents_are_the_posterior_of_images_and_of_mirrored_images(
    micro, source, pixels, tmp_path
):
    found = latents(micro, source, tmp_path / "cache")
    assert found.upright.shape == found.mirrored.shape == (COUNT, 2, 4, 4, 4)
    assert found.upright.dtype == found.mirrored.dtype == np.float32
    np.testing.assert_array_equal(found.places, np.arange(COUNT))
    np.testing.assert_allclose(found.upright, moments(micro, pixels), **CLOSE)
    np.testing.assert_allclose(found.mirrored, moments(micro, pixels[:, :, ::-1]), **CLOSE)
    # Which is why they are computed: a mirrored latent is another one.
    assert np.abs(found.mirrored - found.upright[..., ::-1]).max() > 0.01
    assert (found.upright[:, 1] > 0).all()


def test_latents_are_computed_once(micro, source, tmp_path, forbid):
    cache = tmp_path / "cache"
    first = latents(micro, source, cache)
    forbid("encode_posterior")
    again = latents(micro, source, cache)
    for field in first._fields:
        np.testing.assert_array_equal(getattr(again, field), getattr(first, field))
    for other in ({"digest": "2"}, {"view": VIEW._replace(crop="squash")}):
        with pytest.raises(AssertionError, match="computed again"):
            latents(micro, source, cache, **other)


def test_mirror_images_are_encoded_only_where_they_are_wanted(micro, source, tmp_path, forbid):
    cache = tmp_path / "cache"
    without = latents(micro, source, cache, flip=False)
    assert without.mirrored is None
    both = latents(micro, source, cache)
    np.testing.assert_array_equal(both.upright, without.upright)
    forbid("encode_posterior")
    assert latents(micro, source, cache, flip=False).mirrored is None


def test_images_that_cannot_be_decoded_have_no_latents(micro, source, pixels, tmp_path, capsys):
    broken = tmp_path / "images" / "class0" / "2.png"
    broken.write_bytes(broken.read_bytes()[:50])
    found = latents(micro, source, tmp_path / "cache")
    kept = [0, 1, 3, 4, 5, 6]
    np.testing.assert_array_equal(found.places, kept)
    np.testing.assert_allclose(found.upright, moments(micro, pixels)[kept], **CLOSE)
    np.testing.assert_allclose(found.mirrored, moments(micro, pixels[:, :, ::-1])[kept], **CLOSE)
    assert "left out    class0/2.png" in capsys.readouterr().out


def test_a_stop_leaves_no_latents_and_what_was_done(micro, source, tmp_path):
    stop = threading.Event()
    stop.set()
    assert latents(micro, source, tmp_path / "cache", stop=stop) is None
    assert latents(micro, source, tmp_path / "cache") is not None


def contexts(micro, prompts, cache, **options):
    model, params, mesh = micro
    options = {"digest": "1", **options}
    return inputs.compute_contexts(prompts, model, params, mesh, cache=cache, **options)


def test_contexts_are_the_text_encoder_s_in_the_order_of_the_prompts(micro, tmp_path):
    model, params, mesh = micro
    done = []
    found = contexts(micro, PROMPTS, tmp_path, report=done.append)
    assert found.shape == (len(PROMPTS), model.num_tokens, 48)
    assert found.dtype == np.float32
    expected = jax.jit(model.encode_text)(params, model.tokenize(PROMPTS))
    np.testing.assert_allclose(found, expected, **CLOSE)
    # Two calls of eight on each device; the second is filled up, and that is not kept.
    assert done == [8 * mesh.size, len(PROMPTS) - 8 * mesh.size]
    # Prompts of one start that differ in a word differ: rows are not one and the same.
    assert np.abs(np.diff(found[2:19], axis=0)).max(axis=(1, 2)).min() > 1e-3


def test_contexts_are_computed_once(micro, tmp_path, forbid):
    first = contexts(micro, PROMPTS, tmp_path)
    forbid("encode_text")
    np.testing.assert_array_equal(contexts(micro, PROMPTS, tmp_path), first)
    others = ((PROMPTS, "2"), (PROMPTS[:-1], "1"), (PROMPTS[::-1], "1"))
    for prompts, digest in others:
        with pytest.raises(AssertionError, match="computed again"):
            contexts(micro, prompts, tmp_path, digest=digest)


def test_contexts_go_on_after_an_interruption(micro, tmp_path):
    whole = contexts(micro, PROMPTS, tmp_path / "whole")

    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        contexts(micro, PROMPTS, tmp_path / "cache", report=interrupt)
    done = []
    resumed = contexts(micro, PROMPTS, tmp_path / "cache", report=done.append)
    assert sum(done) == len(PROMPTS) - 16
    np.testing.assert_array_equal(resumed, whole)


def test_prompts_are_numbered_once_each_and_the_empty_one_first():
    table = inputs.list_prompts([["a bag"], ["a boot", "boots"], ["a bag", ""], ["boots"]])
    assert table.texts == ["", "a bag", "a boot", "boots"]
    assert table.of_image == [[1], [2, 3], [1, 0], [3]]
    named = [[table.texts[place] for place in places] for places in table.of_image]
    assert named == [["a bag"], ["a boot", "boots"], ["a bag", ""], ["boots"]]
    assert inputs.list_prompts([]) == ([""], [])


def test_digests_tell_parts_apart():
    parts = [("a", "b"), ("b", "a"), ("ab",), ("ab", ""), ("a", "b", 1), ("a", "b", "1")]
    digests = {inputs.digest_of(*each) for each in parts}
    assert len(digests) == len(parts)
    assert inputs.digest_of("a", "b") == inputs.digest_of("a", "b")
    assert all(len(digest) == 64 for digest in digests)
