"""The clock is a stand-in: what is measured here says nothing of another machine."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from dreamda_jax.runtime import measured_rate


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by `step` seconds at every look; [step], to be changed."""
    step = [1.0]
    counter = itertools.count()
    monkeypatch.setattr(measured_rate.time, "perf_counter", lambda: next(counter) * step[0])
    return step


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_rate_is_the_products_operations_over_its_time(clock, dtype):
    clock[0] = 0.5
    assert measured_rate.product_rate(dtype) == 2 * 512**3 / 0.5


def test_matrices_grow_until_a_product_takes_long_enough(clock, monkeypatch):
    clock[0] = 1e-6
    monkeypatch.setattr(measured_rate, "_LARGEST", 1024)
    assert measured_rate.product_rate("float32") == pytest.approx(2 * 1024**3 / 1e-6)


def test_every_byte_is_read_and_written(clock, monkeypatch):
    monkeypatch.setattr(measured_rate, "_MOVED", 1 << 20)
    clock[0] = 0.25
    each = (1 << 20) / jax.local_device_count()
    assert measured_rate.memory_rate() == 2 * each / 0.25


def test_a_real_measurement_finds_a_rate(monkeypatch):
    monkeypatch.setattr(measured_rate, "_LARGEST", 512)
    monkeypatch.setattr(measured_rate, "_MOVED", 1 << 22)
    assert measured_rate.product_rate("float32") > 0
    assert measured_rate.memory_rate() > 0


def test_all_local_devices_work_at_once(monkeypatch):
    seen = []

    def spy(result):
        seen.append(result)
        return result

    monkeypatch.setattr(measured_rate.jax, "block_until_ready", spy)
    monkeypatch.setattr(measured_rate, "_LARGEST", 512)
    measured_rate.product_rate("bfloat16")
    for product in seen:
        assert product.dtype == jnp.bfloat16
        assert product.shape == (jax.local_device_count() * 512, 512)
        assert product.sharding.device_set == set(jax.local_devices())
