"""Features on the disk: gone on with after a stop, made anew after damage, blind to names."""

import numpy as np
import pytest

from dreamda_jax.data.feature_store import FeatureStore
from dreamda_jax.errors import UserError

VALUES = np.arange(30, dtype=np.float32).reshape(10, 3)


def open_store(cache, *identity, num_images=10, shape=(3,), dtype=np.float32):
    return FeatureStore(
        cache, "pool", identity or ("a",), num_images=num_images, shape=shape, dtype=dtype
    )


def fill(store, start, stop, *, broken=()):
    kept = [place for place in range(start, stop) if place not in broken]
    store.append(VALUES[kept], np.array(kept), done=stop)


def test_rows_come_back_and_stay_on_the_disk(tmp_path):
    store = open_store(tmp_path)
    assert not store.finished
    fill(store, 0, 10)
    store.save()
    read = open_store(tmp_path).read()
    assert isinstance(read.values, np.memmap)
    np.testing.assert_array_equal(read.values, VALUES)
    np.testing.assert_array_equal(read.places, np.arange(10))


def test_goes_on_from_the_last_save(tmp_path):
    store = open_store(tmp_path)
    fill(store, 0, 4, broken={1})
    store.save()
    fill(store, 4, 8)  # lost: not saved
    del store  # and with it its lock, as when a process ends
    again = open_store(tmp_path)
    assert (again.done, again.finished) == (4, False)
    with pytest.raises(ValueError, match="4 of 10"):
        again.read()
    fill(again, 4, 10, broken={9})
    again.save()
    read = open_store(tmp_path).read()
    np.testing.assert_array_equal(read.places, [0, 2, 3, 4, 5, 6, 7, 8])
    np.testing.assert_array_equal(read.values, VALUES[read.places])


def test_another_identity_is_another_store(tmp_path):
    store = open_store(tmp_path, "digest", 32)
    fill(store, 0, 10)
    store.save()
    assert open_store(tmp_path, "digest", 32).finished
    assert not open_store(tmp_path, "digest", 64).finished
    assert not open_store(tmp_path, "other", 32).finished


@pytest.mark.parametrize("shortened", [True, False])
@pytest.mark.parametrize("file", ["progress.json", "values.npy", "places.npy"])
def test_a_damaged_store_is_made_again(tmp_path, file, shortened):
    store = open_store(tmp_path)
    fill(store, 0, 10)
    store.save()
    (damaged,) = tmp_path.glob(f"*/{file}")
    content = bytearray(damaged.read_bytes())
    if shortened:
        content = content[:20]
    else:
        content[-2] ^= 1
    damaged.write_bytes(content)
    again = open_store(tmp_path)
    assert again.done == 0
    fill(again, 0, 10)
    again.save()
    np.testing.assert_array_equal(open_store(tmp_path).read().values, VALUES)


def test_no_image_that_can_be_decoded(tmp_path):
    store = open_store(tmp_path)
    store.append(VALUES[:0], np.zeros(0, np.int64), done=10)
    store.save()
    read = open_store(tmp_path).read()
    assert read.values.shape == (0, 3)
    assert not len(read.places)


def test_rows_of_several_fields(tmp_path):
    dtype = np.dtype([("hash", "<u8"), ("thumbnail", "<f4", (2, 2))])
    store = open_store(tmp_path, num_images=2, shape=(), dtype=dtype)
    rows = np.array([(7, np.eye(2)), (8, np.ones((2, 2)))], dtype)
    store.append(rows, np.arange(2), done=2)
    store.save()
    read = open_store(tmp_path, num_images=2, shape=(), dtype=dtype).read()
    np.testing.assert_array_equal(read.values["hash"], [7, 8])
    np.testing.assert_array_equal(read.values["thumbnail"][0], np.eye(2))


def test_no_room_and_no_directory(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    monkeypatch.setattr("dreamda_jax.data.feature_store.free_bytes", lambda directory: 10)
    with pytest.raises(UserError, match=r"take 200 bytes .* and 10 are free"):
        fill(store, 0, 1)
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be written"):
        fill(open_store(file), 0, 1)


def test_only_one_writes_and_what_another_finished_is_not_written_again(tmp_path):
    def store():
        return FeatureStore(tmp_path, "x", ["id"], num_images=2, shape=(1,), dtype=np.float32)

    first, second = store(), store()
    rows = np.ones((1, 1), np.float32)
    first.append(rows, np.array([0]), done=1)
    with pytest.raises(UserError, match="Another process is computing the same features"):
        second.append(rows, np.array([0]), done=1)
    first.append(2 * rows, np.array([1]), done=2)
    first.save()
    with pytest.raises(UserError, match="run the same command again"):  # it is finished by now
        second.append(rows, np.array([0]), done=1)
    np.testing.assert_array_equal(first.read().values, [[1], [2]])
    np.testing.assert_array_equal(store().read().values, [[1], [2]])
