"""Nearest neighbours against scipy, and nearest hashes against the ImageHash package."""

import imagehash
import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from dreamda_jax.algorithms.metrics.neighbours import (
    NO_HASH,
    NO_MATCH,
    nearest_hashes,
    nearest_neighbours,
    pair_distances,
    squared_distances,
)


def rows(n: int, d: int = 24, *, seed: int = 0) -> np.ndarray:
    # Away from the origin, as features behind a ReLU are.
    return np.random.default_rng(seed).normal(3, 1, (n, d)).astype(np.float32)


def test_block_of_squared_distances():
    x, y = rows(5), rows(7, seed=1)
    expected = cdist(x.astype(np.float64), y.astype(np.float64), "sqeuclidean")
    # float32: products and squares are some 500 here, with a relative error of 1e-7 each.
    np.testing.assert_allclose(squared_distances(x, y), expected, atol=5e-4)
    same = np.asarray(squared_distances(x, x))
    assert (same >= 0).all()


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("block_rows", [16, 1000])
def test_nearest_neighbours_are_scipys(k, block_rows):
    x, y = rows(37), rows(41, seed=1)
    distances, indices = KDTree(y.astype(np.float64)).query(
        x.astype(np.float64), k=[*range(1, k + 1)]
    )
    found = nearest_neighbours(x, y, k=k, block_rows=block_rows)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-12)  # both float64
    assert found.distances.dtype == np.float64


def test_neighbours_within_one_set():
    x = rows(37)
    found = nearest_neighbours(x, x, k=3, exclude_self=True, block_rows=16)
    distances, indices = KDTree(x.astype(np.float64)).query(x.astype(np.float64), k=4)
    np.testing.assert_array_equal(found.indices, indices[:, 1:])  # the first is the row itself
    np.testing.assert_allclose(found.distances, distances[:, 1:], rtol=1e-12)


def test_duplicates_in_a_set_are_neighbours():
    x = rows(37)
    x[30] = x[4]
    found = nearest_neighbours(x, x, exclude_self=True, block_rows=16)
    assert found.indices[[4, 30], 0].tolist() == [30, 4]
    assert found.distances[[4, 30], 0].tolist() == [0, 0]


def test_all_other_rows_as_neighbours():
    x = rows(5)
    found = nearest_neighbours(x, x, k=4, exclude_self=True)
    assert [sorted(row) for row in found.indices.tolist()] == [
        [j for j in range(5) if j != i] for i in range(5)
    ]


def test_a_copy_is_at_distance_zero_however_large_the_numbers():
    y = rows(41) * 1e4 + 1e6
    x = y[[40, 7, 7]]
    found = nearest_neighbours(x, y, block_rows=16)
    assert found.indices[:, 0].tolist() == [40, 7, 7]
    assert found.distances[:, 0].tolist() == [0, 0, 0]


def test_what_float32_confuses_is_put_in_order():
    # Squared distances of 1e-8 to 1e-6 beside products of 1e4: in float32 all of them drown.
    y = rows(60)
    x = rows(1, seed=1) * 20
    steps = np.arange(6, 0, -1)
    y[20:26] = x
    y[20:26, 0] += steps * 1e-4
    found = nearest_neighbours(x, y, k=3, block_rows=16)
    assert found.indices.tolist() == [[25, 24, 23]]
    np.testing.assert_allclose(
        found.distances[0], np.abs(y[[25, 24, 23], 0].astype(np.float64) - x[0, 0]), rtol=1e-12
    )


def test_equally_near_rows_come_in_order():
    y = np.repeat(rows(3), 3, axis=0)
    found = nearest_neighbours(y[3:4], y, k=3, block_rows=4)
    assert found.indices.tolist() == [[3, 4, 5]]


def test_memmaps_and_rows_with_two_axes(tmp_path):
    x, y = rows(37), rows(41, seed=1)
    expected = nearest_neighbours(x, y, k=2)
    mapped = []
    for name, array in (("x", x), ("y", y)):
        file = np.lib.format.open_memmap(
            tmp_path / f"{name}.npy", "w+", np.float32, (len(array), 4, 6)
        )
        file[:] = array.reshape(-1, 4, 6)
        file.flush()
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    found = nearest_neighbours(*mapped, k=2, block_rows=16)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)


class Recorded:
    """An array that notes how many rows were asked for at a time."""

    def __init__(self, array):
        self.array, self.most = array, 0
        self.shape, self.ndim = array.shape, array.ndim

    def __len__(self):
        return len(self.array)

    def __getitem__(self, which):
        part = self.array[which]
        self.most = max(self.most, part.size // self.shape[-1])
        return part


def test_no_more_than_a_block_is_read_at_once():
    x, y = Recorded(rows(300)), Recorded(rows(410, seed=1))
    nearest_neighbours(x, y, block_rows=16)
    assert x.most == 16
    assert y.most == 16 * 9  # the rows whose distances are computed anew


def test_distances_of_given_pairs():
    x, y = rows(5), rows(7, seed=1)
    indices = np.array([[0, 6], [3, -1], [-1, -1], [2, 2], [1, 0]])
    expected = cdist(x.astype(np.float64), y.astype(np.float64))
    expected = np.where(indices < 0, np.inf, np.take_along_axis(expected, indices, axis=1))
    np.testing.assert_allclose(pair_distances(x, y, indices), expected, rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e16])
@pytest.mark.parametrize("side", [0, 1])
def test_numbers_that_have_no_distance(bad, side):
    arrays = [rows(20), rows(20, seed=1)]
    arrays[side][18, 3] = bad
    with pytest.raises(ValueError, match="row 18 holds NaN"):
        nearest_neighbours(*arrays, block_rows=16)


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (rows(3), rows(3, 5), {}, "rows of one shape"),
        (rows(3)[:, 0], rows(3)[:, 0], {}, "rows of one shape"),
        (rows(0), rows(3), {}, "without rows"),
        (rows(3), rows(0), {}, "without rows"),
        (rows(3), rows(3), {"k": 4}, "number of other rows 3, got 4"),
        (rows(3), rows(3), {"k": 0}, "got 0"),
        (rows(3), rows(3), {"k": 3, "exclude_self": True}, "number of other rows 2, got 3"),
        (rows(3), rows(4), {"exclude_self": True}, "one set given twice, got 3 and 4"),
    ],
)
def test_bad_arguments(x, y, options, message):
    with pytest.raises(ValueError, match=message):
        nearest_neighbours(x, y, **options)


def hashes(n: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 2**64, n, np.uint64)


def test_nearest_hashes_are_imagehashs():
    x, y = hashes(9), hashes(30, seed=1)
    found = nearest_hashes(x, y, k=4)
    as_imagehash = [
        [imagehash.hex_to_hash(f"{value:016x}") for value in array.tolist()] for array in (x, y)
    ]
    distances = np.array([[one - other for other in as_imagehash[1]] for one in as_imagehash[0]])
    order = np.argsort(distances, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_array_equal(found.distances, np.take_along_axis(distances, order, axis=1))


def test_hashes_in_several_blocks():
    x, y = hashes(300), hashes(17000, seed=1)
    y[[5, 9000, 16999]] = x[299]
    y[16000] = ~x[0]
    found = nearest_hashes(x, y, k=3)
    assert found.indices[299].tolist() == [5, 9000, 16999]
    assert not found.distances[299].any()
    for row in (0, 255, 256):
        distances = np.bitwise_count(x[row] ^ y)
        order = np.argsort(distances, kind="stable")[:3]
        np.testing.assert_array_equal(found.indices[row], order)
        np.testing.assert_array_equal(found.distances[row], distances[order])
    assert nearest_hashes(x[:1], y[16000:16001]).distances == 64


def test_no_hash_is_near_none():
    x, y = hashes(3), hashes(4, seed=1)
    x[1] = y[0] = y[2] = NO_HASH
    found = nearest_hashes(x, y, k=3)
    assert found.indices[1].tolist() == [-1, -1, -1]
    assert found.distances[1].tolist() == [NO_MATCH] * 3
    assert sorted(found.indices[0]) == [-1, 1, 3]
    assert found.distances[0, 2] == NO_MATCH
    assert nearest_hashes(x, y[:1], k=2).indices.max() == -1


@pytest.mark.parametrize(
    ("x", "y", "k", "message"),
    [
        (hashes(2).astype(np.int64), hashes(2), 1, "x must be a uint64 vector"),
        (hashes(2), hashes(2)[:, None], 1, "y must be a uint64 vector"),
        (hashes(0), hashes(2), 1, "x must be a uint64 vector of at least one"),
        (hashes(2), hashes(0), 1, "y must be a uint64 vector of at least one"),
        (hashes(2), hashes(2), 0, "k must be at least 1"),
    ],
)
def test_bad_hashes(x, y, k, message):
    with pytest.raises(ValueError, match=message):
        nearest_hashes(x, y, k=k)
