"""Moving averages of the error by noise level, against a reference that takes rows one by one."""

import functools

import jax
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion import error_bands

T = 1000


@pytest.mark.parametrize("num_timesteps", [1000, 1003, 7, 5])
@pytest.mark.parametrize("num_bands", [1, 3, 5])
def test_names_are_the_bands_that_rows_fall_into(num_timesteps, num_bands):
    names = error_bands.names(num_bands, num_timesteps)
    assert len(names) == num_bands
    every = np.arange(num_timesteps)
    covered = []
    for band, name in enumerate(names):
        first, last = (int(edge) for edge in name.removeprefix("t").split("-"))
        covered.extend(range(first, last + 1))
        counts = np.asarray(
            error_bands.add_rows(
                error_bands.no_rows(num_bands),
                np.ones(last + 1 - first, np.float32),
                every[first : last + 1],
                num_timesteps=num_timesteps,
            ).counts
        )
        assert counts[band] == last + 1 - first
        assert counts.sum() == counts[band]
    assert covered == every.tolist()


def test_names_sort_as_numbers_do():
    assert error_bands.names(5, T) == ["t000-199", "t200-399", "t400-599", "t600-799", "t800-999"]
    assert error_bands.names(3, 10) == ["t0-3", "t4-6", "t7-9"]


def slow_means(batches, num_bands):
    """Each row of a batch lets the sums of its band decay; then the batch's errors are added."""
    errors, counts = np.zeros(num_bands), np.zeros(num_bands)
    for batch_errors, timesteps in batches:
        bands = [t * num_bands // T for t in timesteps]
        for band in bands:
            errors[band] *= 0.98
            counts[band] *= 0.98
        for band, error in zip(bands, batch_errors, strict=True):
            errors[band] += error
            counts[band] += 1
    return errors / counts


def test_averages_are_those_of_a_slow_reference():
    rng = np.random.default_rng(0)
    batches = [
        (rng.gamma(2.0, size=8).astype(np.float32), rng.integers(0, T, 8).astype(np.int32))
        for _ in range(40)
    ]
    add = jax.jit(functools.partial(error_bands.add_rows, num_timesteps=T))
    bands = error_bands.no_rows(5)
    for errors, timesteps in batches:
        bands = add(bands, errors, timesteps)
    found = np.asarray(error_bands.means(bands))
    assert found.dtype == np.float32
    # Sums of some 50 float32 numbers, each decayed 40 times.
    np.testing.assert_allclose(found, slow_means(batches, 5), rtol=1e-5)


def test_old_rows_are_forgotten():
    bands, timesteps = error_bands.no_rows(1), np.zeros(1, np.int32)
    for _ in range(10):
        bands = error_bands.add_rows(bands, np.float32([100.0]), timesteps, num_timesteps=T)
    for _ in range(500):
        bands = error_bands.add_rows(bands, np.float32([1.0]), timesteps, num_timesteps=T)
    # What is left of the first ten is 99 · 0.98^500 · 10 / 50 = 8e-4.
    np.testing.assert_allclose(error_bands.means(bands), 1, atol=2e-3)


def test_a_band_without_rows_has_no_average_and_is_left_alone():
    assert np.isnan(error_bands.means(error_bands.no_rows(5))).all()
    bands = error_bands.no_rows(5)
    # The first and the last timestep of a band, and rows of another one.
    for timesteps in ([200, 399], [999], [999]):
        errors = np.float32([3.0, 5.0][: len(timesteps)])
        bands = error_bands.add_rows(bands, errors, np.array(timesteps), num_timesteps=T)
    expected = [np.nan, 4, np.nan, np.nan, 3]
    np.testing.assert_allclose(error_bands.means(bands), expected, rtol=1e-6)
