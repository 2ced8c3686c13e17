import pytest

from dreamda_jax.plan.roofline import duration, roofline


def test_operations_bound_a_program_with_little_traffic():
    # 133.2 TFLOP at 197 TFLOP/s; 81.9 GB at 819 GB/s are a tenth of a second.
    bound = roofline(flops=133.2e12, memory_bytes=81.9e9, peak_flops=197e12, bandwidth=819e9)
    assert bound.compute_seconds == pytest.approx(133.2 / 197)
    assert bound.memory_seconds == pytest.approx(0.1)
    assert bound.seconds == bound.compute_seconds
    assert bound.limited_by == "compute"


def test_traffic_bounds_a_program_with_much():
    bound = roofline(flops=1e12, memory_bytes=819e9, peak_flops=197e12, bandwidth=819e9)
    assert bound.seconds == pytest.approx(1.0)
    assert bound.limited_by == "memory"


def test_hours_are_of_one_device_and_device_hours_of_all():
    least = duration(20.3, calls=230, devices=16)
    assert least.hours == pytest.approx(20.3 * 230 / 3600)
    assert least.device_hours == pytest.approx(16 * least.hours)
    assert least.at(0.4).hours == pytest.approx(2.5 * least.hours)
    assert least.at(0.4).device_hours == pytest.approx(2.5 * least.device_hours)
