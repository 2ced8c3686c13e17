"""How benchmarks/accelerator.py finds its cards, and what it says where there are none."""

import logging
import os
import sys
import types

import jax
import pytest

from benchmarks import accelerator
from benchmarks.accelerator_check import start


def test_no_accelerator_ends_with_code_2(monkeypatch, capsys):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")
    monkeypatch.setattr(start, "nvidia_driver", lambda: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks/accelerator.py", "--size=micro"])
    assert accelerator.main() == 2
    said = capsys.readouterr()
    assert "there is no accelerator that JAX can see. --allow_cpu" in said.err
    assert said.out == ""


def test_a_driver_that_is_too_old_is_explained(monkeypatch):
    def fails():
        raise RuntimeError(
            "Unable to initialize backend 'cuda': INTERNAL: CUDA driver version is insufficient "
            "for CUDA runtime version"
        )

    monkeypatch.setattr(jax, "local_devices", fails)
    monkeypatch.setattr(start, "nvidia_driver", lambda: "470.57.02")
    with pytest.raises(start.NoAcceleratorError) as caught:
        start.find_devices(allow_cpu=True)
    said = str(caught.value)
    assert "its driver (here: 470.57.02) is too old" in said
    assert "580 or newer for jax[cuda13], 525 or newer for jax[cuda12]" in said
    assert "CUDA driver version is insufficient" in said


def test_a_fall_back_to_the_cpu_says_what_jax_said(monkeypatch):
    devices = jax.local_devices()

    def falls_back():
        logging.getLogger("jax._src.xla_bridge").warning("Falling back to cpu.")
        return devices

    monkeypatch.setattr(jax, "local_devices", falls_back)
    monkeypatch.setattr(start, "nvidia_driver", lambda: "570.1")
    with pytest.raises(start.NoAcceleratorError, match=r"driver 570\.1.*said: Falling back to cpu"):
        start.find_devices(allow_cpu=False)
    assert start.find_devices(allow_cpu=True) == devices


def test_the_host_is_kept_where_a_platform_is_asked_for(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    for asked, there in {"cuda": "cuda,cpu", "cpu": "cpu", "": ""}.items():
        monkeypatch.setenv("JAX_PLATFORMS", asked)
        start.prepare()
        assert os.environ["JAX_PLATFORMS"] == there
        assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_of_unlike_cards_the_smallest_decides():
    def card(gigabytes: int):
        stats = {"bytes_limit": gigabytes * 10**9}
        return types.SimpleNamespace(device_kind="NVIDIA A100", memory_stats=lambda: stats)

    cards = [card(80), card(40)]
    assert min(start.memory_limits(cards)) == 40 * 10**9
    assert start.unlike(cards) == (
        "the cards are not alike (NVIDIA A100 with 80.0 GB, NVIDIA A100 with 40.0 GB): 40.0 GB is "
        "taken as the limit of each"
    )
    assert start.unlike([card(80), card(80)]) is None
