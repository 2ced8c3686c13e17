"""The engine: shards, skipped seeds, one compilation, stopping, failures."""

import threading
import types

import jax
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.data.loader import Seed
from dreamda_jax.data.sets import dataset, records, shards
from dreamda_jax.errors import UserError
from dreamda_jax.generate import engine
from dreamda_jax.generate.conditions import Prompts
from dreamda_jax.synthesis.dreamda import DreamDA
from dreamda_jax.synthesis.pipeline import DreamDAPipeline
from tests.support.waiting import HANG_GUARD_SECONDS

VARIANTS = 2


@pytest.fixture(scope="module")
def loaded(micro_checkpoint):
    return DreamDAPipeline.from_pretrained(str(micro_checkpoint))


def make_job(loaded, directory, num_seeds, seeds_per_shard, **options):
    pipeline, params = loaded
    return engine.Job(
        pipeline=pipeline,
        params=params,
        method=DreamDA(num_inference_steps=4, guidance_scale=1.0, **options),
        layout=shards.Layout.for_seeds(
            directory, name="test", num_seeds=num_seeds, seeds_per_shard=seeds_per_shard
        ),
        label_names=("bag", "boot"),
        conditions=Prompts(
            pipeline.embeddings(params),
            lambda seed, variant: f"class {seed.label}",
            source_prompt="",
            num_variants=VARIANTS,
        ),
        keys=np.asarray(
            keys_lib.seed_keys(jax.random.key_data(jax.random.key(0)), np.arange(num_seeds))
        ),
        num_variants=VARIANTS,
        seeds_per_device=2,
        image_format="png",
        image_quality=95,
    )


def make_seed(index, error=None):
    pixels = np.random.default_rng(index).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Seed(index, f"{index}.png", index % 2, None, None if error else pixels, error, False)


class Report:
    def __init__(self):
        self.finished = []
        self.count = 0

    def images(self, count):
        self.count += count

    def shard(self, made, seeds):
        self.finished.append((sorted(seeds), len(made)))


def run(job, seeds, stop=None):
    report = Report()
    statistics = engine.make_shards(job, iter(seeds), stop=stop or threading.Event(), report=report)
    return statistics, report


def test_batches_cross_shards_and_compile_once(loaded, tmp_path):
    # 4 seeds a batch (two devices), 3 a shard, 11 seeds: the last batch and shard are short.
    job = make_job(loaded, tmp_path, 11, 3)
    bad = {4: "truncated", 6: "missing", 7: "empty file", 8: "truncated"}
    seeds = [make_seed(i, bad.get(i)) for i in range(11)]
    compiled: list[str] = []

    def listen(event: str, duration: float, **_):
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        run(make_job(loaded, tmp_path / "warm", 11, 3), seeds[:4])
        assert compiled  # the listener hears
        compiled.clear()
        statistics, report = run(job, seeds)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == []
    assert report.finished == [([0, 1, 2], 6), ([3, 4, 5], 4), ([6, 7, 8], 0), ([9, 10], 4)]
    assert report.count == 11 * VARIANTS
    assert statistics.images == 7 * VARIANTS
    assert np.isfinite(statistics.site_rms)
    summary = dataset.finish(
        job.layout, label_names=job.label_names, image_shape=(8, 8, 3), image_format="png"
    )
    assert (summary.num_records, summary.num_skipped) == (14, 4)
    made = list(dataset.read_records(job.layout))
    assert [r.seed_id for r in made[::2]] == [0, 1, 2, 3, 5, 9, 10]
    # The key in a record is the seed's own: with it the API makes the same image again.
    pipeline, params = loaded
    root = jax.random.key(0)
    assert made[-1].key == tuple(np.asarray(jax.random.key_data(jax.random.fold_in(root, 10))))
    again = pipeline(
        params,
        seeds[10].pixels[None],
        made[-1].prompt,
        root,
        seed_ids=[10],
        variants=[1],
        num_inference_steps=4,
        guidance_scale=1.0,
    )
    difference = again.images[0, 0].astype(int) - records.decode_image(made[-1].image)
    assert abs(difference).max() <= 1  # another batch shape rounds otherwise


def test_stop_keeps_what_is_complete(loaded, tmp_path):
    job, stop = make_job(loaded, tmp_path, 40, 4), threading.Event()

    def seeds():
        for index in range(40):
            if index == 24:
                stop.set()
            yield make_seed(index)

    _, report = run(job, seeds(), stop)
    finished = report.finished
    assert 0 < len(finished) < 10
    assert len(shards.missing_shards(job.layout)) == 10 - len(finished)


class HostTime:
    """A clock on which only encoding takes time: a second an image.

    A batch is encoded when the one after it is made: its dispatch and its end have been looked up.
    """

    def __init__(self, images_per_batch, num_batches):
        self._images_per_batch, self._num_batches = images_per_batch, num_batches
        self._changed = threading.Condition()
        self._seconds = self._looks = self._begun = 0

    def monotonic(self):
        with self._changed:
            self._looks += 1
            self._changed.notify_all()
            return float(self._seconds)

    def encode(self):
        with self._changed:
            batch = self._begun // self._images_per_batch
            self._begun += 1
            looks = 2 * min(batch + 2, self._num_batches)
            assert self._changed.wait_for(lambda: self._looks >= looks, HANG_GUARD_SECONDS)
            self._seconds += 1


def test_the_wait_for_a_slow_host_is_seen(loaded, tmp_path, monkeypatch):
    encode, clock = records.encode_image, HostTime(images_per_batch=8, num_batches=4)

    def slowly(*args, **kwargs):
        clock.encode()
        return encode(*args, **kwargs)

    monkeypatch.setattr(records, "encode_image", slowly)
    monkeypatch.setattr(engine, "time", types.SimpleNamespace(monotonic=clock.monotonic))
    statistics, _ = run(make_job(loaded, tmp_path, 16, 16), map(make_seed, range(16)))
    # Batches 3 and 4 begin when 1 and 2 are encoded; the devices have been free since 2 and 3.
    assert statistics.device_wait_seconds == 2 * 8
    assert statistics.device_wait_share == 1


def test_features_that_are_not_finite(loaded, tmp_path):
    pipeline, params = loaded
    broken = jax.tree.map(lambda x: x * np.float32(np.nan), params["unet"]["conv_in"])
    params = {**params, "unet": {**params["unet"], "conv_in": broken}}
    with pytest.raises(UserError, match="not finite"):
        run(make_job((pipeline, params), tmp_path, 4, 4), map(make_seed, range(4)))
    assert not list(tmp_path.glob("*.array_record*"))
