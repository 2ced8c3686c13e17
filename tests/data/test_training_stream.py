import collections
import itertools
import multiprocessing
import threading

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data import training_stream
from dreamda_jax.data.evaluation_stream import evaluation_batches
from dreamda_jax.data.sources import Example
from dreamda_jax.data.sources.classes import match_classes
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.data.stream_order import StreamOrder
from dreamda_jax.data.training_stream import epoch_length, training_batches
from dreamda_jax.errors import UserError
from tests.support.make_synthetic import NAMES, make_pixels, make_synthetic
from tests.support.waiting import wait_until

SIZE = 8


class Real:
    """So many images, each of which tells its place."""

    name = "real"
    label_names = NAMES

    def __init__(self, count, label=None):
        self.count, self.label, self.reads = count, label, 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.reads += 1
        pixels = np.full((SIZE, SIZE, 3), index, np.uint8)
        return Example(index, f"real {index}", self.label or index % 3, pixels)

    def fingerprint(self):
        return ""


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """12 images, of the seeds 0, 2, 3 and 4."""
    directory = tmp_path_factory.mktemp("set")
    make_synthetic(directory, num_seeds=5, num_variants=3, skipped=(1,))
    return SyntheticSource(directory)


def batches(real, synthetic, **options):
    defaults = {"synthetic_ratio": None, "batch_size": 4, "seed": 7, "start_step": 0}
    defaults |= {"resolution": SIZE, "crop": "center"}
    return list(training_batches(real, synthetic, **(defaults | options)))


def joined(parts):
    """The rows of many batches as one (images, labels, synthetic, index)."""
    return tuple(np.concatenate([part[i] for part in parts]) for i in range(4))


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for field in range(4):
            np.testing.assert_array_equal(a[field], b[field])
            assert a[field].dtype == b[field].dtype


def places(parts):
    _, _, of_synthetic, index = joined(parts)
    return [*zip(of_synthetic.tolist(), index.tolist(), strict=True)]


def test_rows_are_what_their_place_says(synthetic):
    parts = batches(Real(10), synthetic, num_steps=11)
    for batch in parts:
        assert batch.images.shape == (4, SIZE, SIZE, 3)
        dtypes = [array.dtype for array in batch[:4]]
        assert dtypes == [np.uint8, np.int32, np.bool_, np.int64]
        assert batch.replaced == ()
    for image, label, of_synthetic, index in zip(*joined(parts), strict=True):
        seed, variant = synthetic.seed_of(index) if of_synthetic else (index, None)
        assert label == seed % 3
        expected = make_pixels(seed, variant, SIZE) if of_synthetic else index
        np.testing.assert_array_equal(image, np.broadcast_to(expected, image.shape))


@pytest.mark.parametrize("ratio", [None, 0.7])
def test_deterministic_and_resumable_in_the_middle_of_an_epoch(synthetic, ratio):
    real = Real(10)
    whole = batches(real, synthetic, synthetic_ratio=ratio, num_steps=20)
    assert_same(whole, batches(real, synthetic, synthetic_ratio=ratio, num_steps=20))
    for start in (1, 7, 20):
        rest = batches(real, synthetic, synthetic_ratio=ratio, start_step=start, num_steps=20)
        assert_same(rest, whole[start:])
    other = batches(real, synthetic, synthetic_ratio=ratio, num_steps=20, seed=8)
    assert places(other) != places(whole)


@pytest.fixture
def looked_up(monkeypatch):
    """The places of the stream that are asked for."""
    found, look_up = [], StreamOrder.__getitem__

    def noting(order, position):
        found.append(position)
        return look_up(order, position)

    monkeypatch.setattr(StreamOrder, "__getitem__", noting)
    return found


def test_starting_late_costs_nothing(synthetic, looked_up):
    real = Real(10)
    (batch,) = batches(real, synthetic, start_step=10**9, num_steps=10**9 + 1)
    assert len(batch.labels) == 4
    assert real.reads <= 4
    assert looked_up == [4 * 10**9 + row for row in range(4)]  # and none before


@pytest.mark.parametrize("ratio", [None, 0.25])
def test_the_global_batch_is_the_same_on_any_number_of_hosts(synthetic, ratio):
    def global_batches(hosts):
        options = {"batch_size": 8, "num_steps": 9, "start_step": 2, "host_count": hosts}
        each = [
            batches(Real(10), synthetic, synthetic_ratio=ratio, host_index=host, **options)
            for host in range(hosts)
        ]
        assert all(len(batch.labels) == 8 // hosts for batch in each[0])
        return [joined(parts) for parts in zip(*each, strict=True)]

    assert_same(global_batches(1), global_batches(2))
    assert_same(global_batches(1), global_batches(4))


def test_every_image_once_an_epoch_in_a_new_order_each_time(synthetic):
    both = [(False, i) for i in range(10)] + [(True, i) for i in range(12)]
    assert epoch_length(Real(10), synthetic, None) == 22
    seen = places(batches(Real(10), synthetic, num_steps=11, batch_size=6))  # three epochs
    epochs = [seen[i : i + 22] for i in range(0, 66, 22)]
    assert all(sorted(epoch) == both for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != both
    assert sorted(places(batches(Real(10), None, num_steps=5, batch_size=2))) == both[:10]
    assert sorted(places(batches(None, synthetic, num_steps=6, batch_size=2))) == both[10:]


def test_runs_with_neighbouring_seeds_share_no_epoch():
    def epochs(seed):
        order = StreamOrder(8, 0, None, seed)
        return {tuple(order[8 * e + i] for i in range(8)) for e in range(20)}

    assert not epochs(0) & epochs(1)


@pytest.mark.parametrize(
    ("ratio", "epoch"), [(0.5, 400), (0.7, 667), (0.95, 4000), (0.503, 403), (1 / 3, 300)]
)
def test_the_ratio_is_exact_in_every_stretch(ratio, epoch):
    order = StreamOrder(200, 31, ratio, 0)
    assert order.epoch_length == epoch  # ceil(200 / (1 - ratio))
    stream = [order[position] for position in range(2 * epoch)]
    made = np.cumsum([place.synthetic for place in stream])
    count = np.arange(1, 2 * epoch + 1)
    assert np.abs(made - ratio * count).max() < 1 + 1e-6 * epoch  # ratios have six decimals
    real = [place.index for place in stream if not place.synthetic]
    assert sorted(real[:200]) == sorted(real[200:400]) == [*range(200)]
    assert len([place for place in stream[:epoch] if not place.synthetic]) in (200, 201)
    synthetic = [place.index for place in stream if place.synthetic]
    for start in range(0, len(synthetic) - 31, 31):
        assert sorted(synthetic[start : start + 31]) == [*range(31)]


def test_shuffles_are_uniform():
    """Where image 0 of 5 stands in 5,000 epochs: chi-squared, 4 degrees of freedom."""
    order = StreamOrder(5, 0, None, 3)
    found = collections.Counter(
        next(i for i in range(5) if order[5 * epoch + i].index == 0) for epoch in range(5000)
    )
    statistic = sum((found[i] - 1000) ** 2 / 1000 for i in range(5))
    assert statistic < 18.5  # exceeded by chance once in a thousand seeds


def test_expansion_limits_what_is_trained_on(synthetic):
    first = SyntheticSource(synthetic._layout.directory, expansion=1)
    parts = batches(None, first, num_steps=4)
    assert sorted(places(parts)) == [(True, i) for i in range(4) for _ in range(4)]
    _, _, _, index = joined(parts)
    assert {first.seed_of(i)[1] for i in index} == {0}


def test_worker_processes_give_the_same(synthetic, folder):
    real = open_folder(folder)
    synthetic = match_classes(real.label_names, synthetic, what="x")
    options = {"start_step": 1, "num_steps": 8, "synthetic_ratio": 0.4}
    here = batches(real, synthetic, **options)
    there = batches(real, synthetic, num_workers=2, **options)
    assert_same(here, there)
    assert [batch.replaced for batch in here] == [batch.replaced for batch in there]
    assert any(batch.replaced for batch in here)
    (evaluated,) = evaluate(real, num_workers=1)
    (expected,) = evaluate(real)
    np.testing.assert_array_equal(evaluated.images, expected.images)
    assert evaluated.broken == expected.broken
    assert not multiprocessing.active_children()


@pytest.fixture
def folder(tmp_path):
    """Images 0 … 7 of the colour 10·i: 2, 3 and 7 are broken."""
    for i in range(8):
        path = tmp_path / "real" / ("cat", "dog", "spaced out")[i // 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIZE, SIZE), (10 * i,) * 3).save(path)
        if i in (2, 7):
            path.write_bytes(path.read_bytes()[:40])
        elif i == 3:
            path.write_bytes(b"")
    return tmp_path / "real"


@pytest.mark.parametrize("cached_bytes", [0, 2**20])
def test_broken_images_are_replaced_and_reported_once(folder, monkeypatch, cached_bytes):
    monkeypatch.setattr(training_stream, "_MAX_CACHED_BYTES", cached_bytes)
    parts = batches(open_folder(folder), None, num_steps=6)  # three epochs
    images, labels, _, index = joined(parts)
    for epoch in range(3):
        stretch = index[8 * epoch : 8 * epoch + 8]
        # 2 and 3 become 4; 7 becomes 0, going round the end.
        assert sorted(stretch) == [0, 0, 1, 4, 4, 4, 5, 6]
    assert (images == 10 * index[:, None, None, None]).all()
    assert (labels == index // 3).all()
    reported = [message for batch in parts for message in batch.replaced]
    assert sorted(message.split(":")[0] for message in reported) == [
        "cat/2.png",
        "dog/3.png",
        "spaced out/7.png",
    ]
    assert "dog/3.png: empty file" in reported


def test_all_images_broken_is_an_error(folder):
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"None of the 8 real images can be decoded.*empty file"):
        batches(open_folder(folder), None, num_steps=1)


def test_pixels_of_a_small_set_are_decoded_once(monkeypatch):
    real = Real(10)
    batches(real, None, num_steps=10)  # four epochs, in two threads
    assert 10 <= real.reads < 20
    monkeypatch.setattr(training_stream, "_MAX_CACHED_BYTES", 10 * SIZE * SIZE * 3 - 1)
    real = Real(10)
    batches(real, None, num_steps=10)
    assert real.reads == 40


def test_labels_outside_the_classes(tmp_path):
    with pytest.raises(UserError, match=r"real \d of real has the label 3, outside of 0\.\.2"):
        batches(Real(4, label=3), None, num_steps=1)
    make_synthetic(tmp_path, label=5)
    source = SyntheticSource(tmp_path)
    with pytest.raises(UserError, match=r"has label 5 .* where the file has 3 classes only"):
        batches(None, source, num_steps=1)
    with pytest.raises(UserError, match=r"label 5"):
        evaluate(source)
    for stream in (batches, lambda real, _, **options: evaluate(real)):
        with pytest.raises(UserError, match="no images in real"):
            stream(Real(0), None, num_steps=1)


def test_programming_errors_are_refused_at_once(synthetic):
    real = Real(4)
    other = Real(4)
    other.label_names = ("a", "b", "c")
    for arguments, options, message in [
        ((None, None), {}, "neither"),
        ((real, None), {"synthetic_ratio": 0.5}, "both kinds"),
        ((real, synthetic), {"synthetic_ratio": 0.0}, r"in \(0, 1\)"),
        ((real, synthetic), {"synthetic_ratio": 1.0}, r"in \(0, 1\)"),
        ((other, synthetic), {}, "match_classes"),
        ((real, None), {"batch_size": 6, "host_count": 4}, "does not divide by 4"),
        ((real, None), {"host_index": 2, "host_count": 2}, "host 2 of 2"),
        ((real, None), {"start_step": 3}, "start_step 3 of 2"),
        ((real, None), {"seed": -1}, "seed -1"),
        ((real, None), {"prefetch": 0}, "prefetch"),
    ]:
        defaults = {"synthetic_ratio": None, "batch_size": 4, "seed": 0, "start_step": 0}
        defaults |= {"num_steps": 2, "resolution": SIZE, "crop": "center"}
        with pytest.raises(ValueError, match=message):
            training_batches(*arguments, **(defaults | options))


def test_closing_early_stops_at_once(looked_up):
    threads = set(threading.enumerate())
    stream = training_batches(
        *(Real(100), None),
        **{"synthetic_ratio": None, "batch_size": 4, "seed": 0, "start_step": 0},
        **{"num_steps": 10**9, "resolution": SIZE, "crop": "center", "prefetch": 4},
    )
    assert len(list(itertools.islice(stream, 3))) == 3
    stream.close()
    wait_until(lambda: set(threading.enumerate()) <= threads)
    assert set(looked_up) <= set(range(4 * (3 + 4)))  # those of the steps held ready, no more


def evaluate(source, **options):
    defaults = {"batch_size": 8, "resolution": SIZE, "crop": "center"}
    return list(evaluation_batches(source, **(defaults | options)))


@pytest.mark.parametrize(("hosts", "count"), [(1, 10), (2, 10), (4, 17), (4, 1), (2, 16)])
def test_evaluation_covers_every_image_once(hosts, count):
    each = [evaluate(Real(count), host_index=host, host_count=hosts) for host in range(hosts)]
    assert {len(parts) for parts in each} == {-(-count // 8)}
    for batch in itertools.chain(*each):
        assert batch.images.shape == (8 // hosts, SIZE, SIZE, 3)
        dtypes = [array.dtype for array in batch[:4]]
        assert dtypes == [np.uint8, np.int32, np.bool_, np.int64]
    images, labels, mask, index = joined(
        [batch for step in zip(*each, strict=True) for batch in step]
    )
    np.testing.assert_array_equal(index[:count], np.arange(count))
    np.testing.assert_array_equal(mask, np.arange(len(mask)) < count)
    np.testing.assert_array_equal(labels[mask], np.arange(count) % 3)
    assert (images[mask] == index[mask][:, None, None, None]).all()
    assert not images[~mask].any()
    assert not labels[~mask].any()
    assert (index[~mask] == -1).all()


def test_evaluation_masks_broken_images(folder):
    (batch,) = evaluate(open_folder(folder))
    np.testing.assert_array_equal(batch.mask, [1, 1, 0, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(batch.index, np.arange(8))
    np.testing.assert_array_equal(batch.labels, [0, 0, 0, 1, 1, 1, 2, 2])
    assert [message.split(":")[0] for message in batch.broken] == [
        "cat/2.png",
        "dog/3.png",
        "spaced out/7.png",
    ]
    assert not batch.images[~batch.mask].any()
