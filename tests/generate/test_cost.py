"""What an image costs, and what a set takes on the disk, before any is made."""

import numpy as np
import pytest
from PIL import Image

from configs import fashion
from dreamda_jax.data.sets.records import encode_image
from dreamda_jax.generate import build, cost, expected
from dreamda_jax.generate.cost import estimated_bytes, price
from dreamda_jax.runtime import compilation_cache, devices
from dreamda_jax.synthesis.pipeline import DreamDAPipeline
from dreamda_jax.synthesis.sdedit import SDEdit


def test_estimated_bytes_is_an_upper_estimate():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize((8, 8)).resize((64, 64), Image.BICUBIC))
    for image_format in ("png", "jpeg"):
        one = len(encode_image(smooth, image_format=image_format, quality=95))
        estimate = estimated_bytes(10, num_shards=1, resolution=64, image_format=image_format)
        assert 10 * one < estimate


def test_the_program_that_is_priced_is_traced_once_and_is_the_one_that_runs(
    micro_checkpoint, monkeypatch
):
    pipeline, params = DreamDAPipeline.from_pretrained(str(micro_checkpoint))
    method = SDEdit(num_inference_steps=5, strength=0.6, guidance_scale=2.0)
    traced = []
    whole = SDEdit.synthesize

    def synthesize(self, *args, **kwargs):
        traced.append(self)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(SDEdit, "synthesize", synthesize)
    alone = price(pipeline.model, method, resolution=8, num_variants=2)
    assert len(traced) == 1
    shared = price(
        pipeline.model,
        method,
        resolution=8,
        num_variants=2,
        seeds_per_device=3,
        program=pipeline.program(method),
    )
    assert len(traced) == 2
    assert tuple(shared) == pytest.approx(tuple(alone))
    seeds = 3 * devices.local_device_count()
    empty = pipeline.embeddings(params).get([""])[""]
    pipeline.dispatch(
        params,
        method,
        images=np.zeros((seeds, 8, 8, 3), np.uint8),
        contexts=np.broadcast_to(empty, (seeds, 2, *empty.shape)),
        source_context=empty,
        empty_context=empty,
        keys=np.zeros((seeds, 2), np.uint32),
        variants=np.arange(2),
        seeds_per_device=3,
    )
    assert len(traced) == 2


def test_a_second_start_knows_the_price_and_traces_nothing(micro_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "kept_in", lambda: tmp_path)
    config = fashion.get_config("sdedit").to_dict()
    config["model"]["path"], config["image"]["resolution"] = str(micro_checkpoint), 8
    config["method"] |= {"num_inference_steps": 5, "strength": 0.6}
    config["output"]["path"] = str(tmp_path / "set")
    checked = build.generation(config)
    networks, making = checked.networks, checked.making

    def expect():
        return expected.expect(networks, making, DreamDAPipeline(networks.model))

    counted = expect()
    monkeypatch.setattr(cost, "price", None)  # would fail
    again = expect()
    assert again.price == counted.price
    assert expected.time_of_images(again, num_images=10, dtype="float32").is_bound
    again.notes.put(seconds_each=0.25)
    once_more = expect()
    assert expected.time_of_images(once_more, num_images=10, dtype="float32").seconds == 2.5


def test_another_method_s_price_is_another(micro_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "kept_in", lambda: tmp_path)
    prices = []
    for strength in (0.4, 0.8):
        config = fashion.get_config("sdedit").to_dict()
        config["model"]["path"], config["image"]["resolution"] = str(micro_checkpoint), 8
        config["method"] |= {"num_inference_steps": 5, "strength": strength}
        config["output"]["path"] = str(tmp_path / "set")
        checked = build.generation(config)
        pipeline = DreamDAPipeline(checked.networks.model)
        known = expected.expect(checked.networks, checked.making, pipeline)
        prices.append(known.price.unet_rows)
    assert prices[1] == pytest.approx(2 * prices[0])
