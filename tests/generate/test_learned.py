"""Learning every seed's embedding, shard by shard: files, order, stopping, devices, whole runs."""

import glob
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.data.loader import Seed
from dreamda_jax.data.sets import dataset, shards
from dreamda_jax.errors import UserError
from dreamda_jax.generate.learned import Job, Learner, Store, learn_missing
from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.runtime import devices as mesh
from dreamda_jax.synthesis.diffusion_inversion import DiffusionInversion
from tests.generate.test_generate import ROOT
from tests.support.generate_command import command as generate_command
from tests.support.generate_command import contents, environment, generate
from tests.support.held import held
from tests.support.learnable_toy import CHANNELS, LearnableToy
from tests.support.waiting import HANG_GUARD_SECONDS, wait_until

TOKENS = 2
SHAPE = (TOKENS, CHANNELS)


def make_layout(directory, num_seeds=7, seeds_per_shard=3):
    return shards.Layout.for_seeds(
        directory, name="test", num_seeds=num_seeds, seeds_per_shard=seeds_per_shard
    )


def make_seed(index, error=None):
    pixels = np.random.default_rng(index).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Seed(index, f"{index}.png", index % 2, None, None if error else pixels, error, False)


class Images:
    """Loads seeds, some of them broken, and remembers which were asked for."""

    def __init__(self, broken=()):
        self.broken, self.asked = broken, []

    def __call__(self, ids):
        self.asked.append(list(ids))
        return (make_seed(i, "truncated" if i in self.broken else None) for i in ids)


class Heard:
    """Progress: steps of single images and losses; `after` is called with each."""

    def __init__(self, after=lambda: None):
        self.steps, self.losses, self.after = 0, [], after

    def __call__(self, count, loss):
        self.steps += count
        if loss is not None:
            self.losses.append(loss)
            self.after()


def make_job(layout, *, learner=None, load=None, report=None, seeds_per_device=1, **options):
    options = {"num_tokens": TOKENS, "learning_steps": 4, **options}
    root = jax.random.key_data(jax.random.key(0))
    return Job(
        learner=learner or Learner(LearnableToy(), {}, DiffusionInversion(**options)),
        layout=layout,
        shape=SHAPE,
        keys=np.asarray(keys_lib.seed_keys(root, np.arange(layout.num_seeds))),
        load=load or Images(),
        seeds_per_device=seeds_per_device,
        report=report or Heard(),
    )


def learn_all(directory, *, stop=None, todo=None, **options):
    """(whether all were done, the store) of a set of seven images in three shards."""
    job = make_job(make_layout(directory), **options)
    store = Store(job.layout, SHAPE)
    todo = store.missing(range(job.layout.num_shards)) if todo is None else todo
    return learn_missing(job, store, todo, stop=stop or threading.Event()), store


def files(directory):
    return {path.name: path.read_bytes() for path in sorted(Path(directory).glob("learned/*"))}


def embeddings_of(shard_length, value=1.0):
    return np.full((shard_length, *SHAPE), value, np.float32)


# The files.


def test_what_is_written_is_read(tmp_path):
    store = Store(make_layout(tmp_path), SHAPE)
    assert store.missing(range(3)) == [0, 1, 2]
    assert store.read(1) is None
    rows = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    rows[1] = np.nan
    store.write(1, rows)
    np.testing.assert_array_equal(store.read(1), rows)
    assert store.read(1).dtype == np.float32
    assert store.missing([2, 1, 0]) == [2, 0]
    store.write(2, rows[:1])  # the last shard has one image
    assert store.missing(range(3)) == [0]
    assert store.path(2) == tmp_path / "learned" / "00002-of-00003.safetensors"
    np.testing.assert_array_equal(
        safetensors.numpy.load_file(store.path(2))["embeddings"][0], rows[0]
    )
    assert sorted(files(tmp_path)) == ["00001-of-00003.safetensors", "00002-of-00003.safetensors"]


def test_the_same_embeddings_make_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        Store(make_layout(tmp_path / name), SHAPE).write(0, embeddings_of(3))
    assert files(tmp_path / "one") == files(tmp_path / "other")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda data: b"this is no file of embeddings\n" * 20,
        lambda data: json.dumps({"embeddings": []}).encode(),
    ],
    ids=["empty", "no-header", "a-byte-short", "half", "a-byte-long", "text", "json"],
)
def test_a_damaged_file_is_as_none(tmp_path, damage):
    store = Store(make_layout(tmp_path), SHAPE)
    store.write(0, embeddings_of(3))
    store.path(0).write_bytes(damage(store.path(0).read_bytes()))
    assert store.read(0) is None
    assert store.missing(range(1)) == [0]


def test_any_changed_byte_is_seen(tmp_path):
    """In the numbers each; in the header it may lie where nothing is said, such as in padding."""
    store = Store(make_layout(tmp_path), SHAPE)
    rows = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    store.write(0, rows)
    whole = store.path(0).read_bytes()
    for place in range(len(whole)):
        for bit in (0, 2, 5, 7):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            store.path(0).write_bytes(data)
            found = store.read(0)
            if place >= len(whole) - rows.nbytes:
                assert found is None, (place, bit)
            elif found is not None:
                assert found.dtype == np.float32
                np.testing.assert_array_equal(found, rows)
    store.path(0).write_bytes(whole)
    np.testing.assert_array_equal(store.read(0), rows)


def test_a_file_of_another_shape_or_another_name_is_as_none(tmp_path):
    layout = make_layout(tmp_path)
    Store(layout, SHAPE).write(0, embeddings_of(3))
    assert Store(layout, (TOKENS + 1, CHANNELS)).read(0) is None
    assert Store(make_layout(tmp_path, num_seeds=8), SHAPE).read(0) is not None
    assert Store(make_layout(tmp_path, seeds_per_shard=4), SHAPE).read(0) is None
    Store(layout, SHAPE).write(1, embeddings_of(2))  # an image too few
    assert Store(layout, SHAPE).read(1) is None
    safetensors.numpy.save_file({"embeddings": embeddings_of(1)}, Store(layout, SHAPE).path(2))
    assert Store(layout, SHAPE).read(2) is None  # without a checksum


def test_a_directory_in_place_of_a_file_is_as_none(tmp_path):
    store = Store(make_layout(tmp_path), SHAPE)
    store.path(0).mkdir(parents=True)
    assert store.read(0) is None


# The loop over shards.


def test_every_shard_is_learnt_and_broken_images_are_not_numbers(tmp_path):
    heard = Heard()
    done, store = learn_all(tmp_path, load=Images(broken=(1, 6)), report=heard)
    assert done
    found = np.concatenate([store.read(shard) for shard in range(3)])
    assert found.shape == (7, *SHAPE)
    assert np.isnan(found[[1, 6]]).all()
    assert np.isfinite(found[[0, 2, 3, 4, 5]]).all()
    assert heard.steps == 7 * 4  # broken ones count, so that a bar comes to its end
    assert np.isfinite(heard.losses).all()
    # Each of its own image and key: as the method learns it alone.
    job = make_job(make_layout(tmp_path))
    method = job.learner.method
    for index in (2, 5):
        keys, images = job.keys[index : index + 1], make_seed(index).pixels[None]
        state = method.start(LearnableToy(), {}, images, keys)
        state = method.learn(LearnableToy(), {}, state, keys, np.int32(0))
        np.testing.assert_allclose(found[index], state.embeddings[0], atol=1e-5)


def test_the_mean_loss_is_that_of_the_images(tmp_path):
    """Rows of a program without an image do not count."""
    heard = Heard()
    learn_all(tmp_path, todo=[2], report=heard)  # one image in two rows
    job = make_job(make_layout(tmp_path))
    method, keys, images = job.learner.method, job.keys[6:], make_seed(6).pixels[None]
    state = method.start(LearnableToy(), {}, images, keys)
    state = method.learn(LearnableToy(), {}, state, keys, np.int32(0))
    np.testing.assert_allclose(heard.losses, np.asarray(state.losses), rtol=1e-4)


def test_each_call_takes_over_the_memory_of_the_last(tmp_path):
    learner = Learner(LearnableToy(), {}, DiffusionInversion(num_tokens=TOKENS, learning_steps=4))
    learn, before = learner._learn, []

    def remembered(params, state, keys, numbers):
        before.append(state)
        return learn(params, state, keys, numbers)

    learner._learn = remembered
    done, store = learn_all(tmp_path, learner=learner)
    assert done
    assert store.read(0) is not None
    for state in before:
        assert all(
            leaf.is_deleted() for leaf in (state.embeddings, *jax.tree.leaves(state.moments))
        )


def test_a_shard_of_broken_images_alone_is_written(tmp_path):
    done, store = learn_all(tmp_path, load=Images(broken=range(3, 6)))
    assert done
    assert np.isnan(store.read(1)).all()
    assert store.missing(range(3)) == []


@pytest.mark.parametrize("calls", [1, 50, 100])
def test_a_stopped_run_continues_with_what_is_missing(tmp_path, calls):
    """Two shards of three images are three batches of two, of 101 calls each."""
    options = {"learning_steps": 202, "load": Images(broken=(1,))}  # two a call
    done, _ = learn_all(tmp_path / "reference", **options)
    assert done
    stop, left = threading.Event(), [202 + calls]

    def count():
        left[0] -= 1
        if left[0] == 0:
            stop.set()

    interrupted, images = Heard(count), Images(broken=(1,))
    options = {"learning_steps": 202, "load": images}
    done, store = learn_all(tmp_path / "set", stop=stop, report=interrupted, **options)
    assert not done
    assert len(interrupted.losses) == 202 + calls  # nothing more once it was asked to stop
    assert sorted(files(tmp_path / "set")) == ["00000-of-00003.safetensors"]
    before = store.path(0).stat().st_mtime_ns
    done, store = learn_all(tmp_path / "set", report=Heard(), **options)
    assert done
    assert images.asked == [[0, 1, 2, 3, 4, 5], [3, 4, 5, 6]]
    assert store.path(0).stat().st_mtime_ns == before
    assert files(tmp_path / "set") == files(tmp_path / "reference")


def test_asked_to_stop_before_it_began_it_makes_nothing(tmp_path):
    stop = threading.Event()
    stop.set()
    done, _ = learn_all(tmp_path, stop=stop)
    assert not done
    assert files(tmp_path) == {}


def test_with_nothing_missing_nothing_is_loaded(tmp_path):
    images = Images()
    assert learn_all(tmp_path, load=images, todo=[])[0]
    assert images.asked == []


def test_shards_are_learnt_in_the_order_given(tmp_path):
    images = Images()
    learn_all(tmp_path, load=images, todo=[1, 2, 0])
    # Two at a time, which is what fills two devices; in a chunk by number.
    assert images.asked == [[3, 4, 5, 6], [0, 1, 2]]


def test_what_another_process_has_learnt_meanwhile_is_left(tmp_path):
    class Meanwhile(Images):
        def __call__(self, ids):
            Store(make_layout(tmp_path), SHAPE).write(1, embeddings_of(3))
            return super().__call__(ids)

    images, heard = Meanwhile(), Heard()
    done, store = learn_all(tmp_path, load=images, report=heard)
    assert done
    assert images.asked == [[0, 1, 2, 3, 4, 5], [6]]
    np.testing.assert_array_equal(store.read(1), embeddings_of(3))
    assert heard.steps == 7 * 4


class Recorder:
    """In the place of a `Learner`: learns nothing and remembers the rows of each device."""

    def __init__(self):
        self.method, self.groups = DiffusionInversion(num_tokens=TOKENS, learning_steps=4), set()

    def learn(self, images, keys, **_):
        rows = len(keys) // mesh.local_device_count()
        self.groups |= {
            tuple(map(tuple, keys[first : first + rows])) for first in range(0, len(keys), rows)
        }
        return np.zeros((len(keys), *SHAPE), np.float32)


@pytest.mark.parametrize("todo", [[2, 1, 0], [0, 2, 1], [2, 0], [1], [2]])
def test_what_one_device_learns_together_is_of_one_shard_in_any_order(tmp_path, todo):
    """So that roundings depend on nothing but the shard; the last one is short."""
    recorder = Recorder()
    learn_all(tmp_path, learner=recorder, todo=todo, seeds_per_device=2)
    job = make_job(make_layout(tmp_path))
    filled = (0, 0)
    of_shards = {0: [(0, 1), (2,)], 1: [(3, 4), (5,)], 2: [(6,)]}
    groups = {
        tuple([*(tuple(job.keys[index]) for index in group), filled][:2])
        for shard in todo
        for group in of_shards[shard]
    }
    assert recorder.groups - {(filled, filled)} == groups


def test_two_devices_are_kept_busy_across_shards(tmp_path):
    """Four rows, a shard of two images: two shards at a time."""

    class Counter(Recorder):
        calls = 0

        def learn(self, *args, **kwargs):
            self.calls += 1
            return super().learn(*args, **kwargs)

    assert mesh.local_device_count() == 2
    recorder, layout = Counter(), make_layout(tmp_path, num_seeds=8, seeds_per_shard=2)
    job = make_job(layout, learner=recorder, seeds_per_device=2)
    assert learn_missing(job, Store(layout, SHAPE), list(range(4)), stop=threading.Event())
    assert recorder.calls == 2


def test_learning_that_diverges_is_a_message(tmp_path):
    with pytest.raises(UserError, match=r"diverged.*learning_rate"):
        learn_all(tmp_path, learning_rate=1e30)
    assert files(tmp_path) == {}


# One device and two, on the micro model, each in a process of its own.


def learn_on_the_devices_there_are(directory, checkpoint):
    """Learns eleven images, three of them broken, and says of how many devices."""
    model, params = loading.load(checkpoint, place=mesh.replicate)
    method = DiffusionInversion(num_tokens=TOKENS, learning_steps=6)
    layout = make_layout(directory, num_seeds=11, seeds_per_shard=3)
    root = jax.random.key_data(jax.random.key(0))
    job = Job(
        learner=Learner(model, params, method),
        layout=layout,
        shape=method.embedding_shape(model),
        keys=np.asarray(keys_lib.seed_keys(root, np.arange(11))),
        load=Images(broken=(2, 4, 9)),
        seeds_per_device=2,
        report=Heard(),
    )
    store, todo = Store(layout, job.shape), [3, 1, 0, 2]
    assert learn_missing(job, store, todo, stop=threading.Event())
    found = np.concatenate([store.read(shard) for shard in range(4)])
    assert np.isnan(found).any(axis=(1, 2)).nonzero()[0].tolist() == [2, 4, 9]
    print(f"learnt on {mesh.local_device_count()} devices")


@pytest.mark.slow
def test_three_devices_learn_the_bytes_of_one(tmp_path, micro_checkpoint):
    for devices in (1, 3):
        program = (
            "from tests.generate import test_learned; import pathlib, sys; "
            "test_learned.learn_on_the_devices_there_are(pathlib.Path(sys.argv[1]), sys.argv[2])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / str(devices)), str(micro_checkpoint)],
            cwd=ROOT,
            env=environment(devices),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert f"learnt on {devices} devices" in done.stdout
    assert len(files(tmp_path / "1")) == 4
    assert files(tmp_path / "3") == files(tmp_path / "1")


# Whole runs of `generate`.

VARIANTS, PER_CLASS = 2, 4


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Two classes of four images, one of them broken."""
    directory = tmp_path_factory.mktemp("own") / "images"
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (directory / name).mkdir(parents=True)
        for i in range(PER_CLASS):
            pixels = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(directory / name / f"{i}.png")
    whole = (directory / "cat" / "1.png").read_bytes()
    (directory / "cat" / "1.png").write_bytes(whole[: len(whole) // 2])
    return directory


def overrides(images):
    return (
        *(f"--config.source.path={images}", "--config.model.dtype=float32"),
        *("--config.loader.num_workers=0", "--config.method.learning_steps=200"),
    )


CONFIG = "configs/folder.py:diffusion_inversion"


@pytest.fixture(scope="module")
def reference(tmp_path_factory, micro_checkpoint, images) -> Path:
    """An uninterrupted run on one device."""
    directory = tmp_path_factory.mktemp("reference") / "set"
    done = generate(directory, micro_checkpoint, *overrides(images), config=CONFIG)
    assert done.returncode == 0, done.stderr
    assert f"done      {7 * VARIANTS} images" in done.stdout
    assert "skipped   1 seed images" in done.stdout
    assert f"{8 * 200}/{8 * 200} steps" in done.stderr
    return directory


@pytest.mark.slow
def test_records_tell_which_embeddings_an_image_is_of(reference):
    made = list(dataset.read_records(reference))
    assert len(made) == 7 * VARIANTS
    assert {record.method for record in made} == {"diffusion_inversion"}
    of_class = {"cat": {0, 2, 3}, "dog": {4, 5, 6, 7}}
    for record in made:
        *words, neighbour = record.prompt.split()
        assert " ".join(words) == f"learnt of image {record.seed_id}, 0.1 towards image"
        assert int(neighbour) in of_class[record.label_name] - {record.seed_id}
    assert len({record.prompt for record in made}) == len(made)
    assert len({record.image for record in made}) == len(made)
    assert len(list(reference.glob("learned/*"))) == 4  # two images a shard


@pytest.mark.slow
def test_stopped_while_it_learns_it_continues_on_two_devices(
    reference, tmp_path, micro_checkpoint, images
):
    directory = tmp_path / "set"
    learnt = directory / "learned" / "*.safetensors"
    line = generate_command(directory, micro_checkpoint, *overrides(images), config=CONFIG)
    process = subprocess.Popen(
        held(line, learnt),
        cwd=ROOT,
        env=environment(1),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: glob.glob(str(learnt)), process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=HANG_GUARD_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "run the same command again to continue" in out
    kept = {name for name in files(directory) if name.endswith(".safetensors")}
    assert 0 < len(kept) < 4
    assert not list(directory.glob("done/*"))
    before = {name: (directory / "learned" / name).stat().st_mtime_ns for name in kept}
    done = generate(directory, micro_checkpoint, *overrides(images), devices=2, config=CONFIG)
    assert done.returncode == 0, done.stderr
    assert {n: (directory / "learned" / n).stat().st_mtime_ns for n in kept} == before
    assert contents(directory) == contents(reference)


@pytest.mark.slow
def test_without_the_embeddings_a_finished_set_stays_finished(
    reference, tmp_path, micro_checkpoint, images
):
    directory = tmp_path / "set"
    directory.mkdir()
    for name, data in contents(reference).items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    for path in directory.glob("learned/*"):
        path.unlink()
    (directory / "learned").rmdir()
    again = generate(directory, micro_checkpoint, *overrides(images), config=CONFIG)
    assert again.returncode == 0, again.stderr
    assert "nothing left to do" in again.stdout
    assert not (directory / "learned").exists()
    # A lost shard takes the neighbours' embeddings too: all are learnt anew, and come out the same.
    os.unlink(sorted(directory.glob("*.array_record*"))[2])
    mended = generate(directory, micro_checkpoint, *overrides(images), config=CONFIG)
    assert mended.returncode == 0, mended.stderr
    assert contents(directory) == contents(reference)
