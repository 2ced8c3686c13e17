"""Set before JAX starts: the CPU with two fake devices, and one compilation cache for all tests."""

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.xla import QUICK

pytest_plugins = ["tests.support.timings"]

# xdist's workers and all subprocesses inherit it: what one test compiled is found by the next.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="dreamda_jax_xla_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    # Tracing asks for the Python stack at every operation; no test reads it in a program.
    "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0",
    "HF_HUB_OFFLINE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
os.environ.update(_ENVIRONMENT)
# Tracing makes many objects that live: looking for circles among them takes a tenth of the time.
gc.set_threshold(100_000, 20, 50)
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=2 {QUICK}"


_MAPS = Path("/proc/self/maps")
_MANY_MAPS = 2_000  # a compiled program holds about three; the kernel's limit is 65,530


@pytest.fixture(scope="module", autouse=True)
def no_programs_are_left() -> Iterator[None]:
    """Drops compiled programs when a module ends that has left many; each holds memory too.

    Not after every module: what all of them use, such as an addition of two arrays, would be
    compiled again each time.
    """
    yield
    jax = sys.modules.get("jax")
    if jax and (not _MAPS.exists() or len(_MAPS.read_bytes().splitlines()) > _MANY_MAPS):
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def micro_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A random Stable Diffusion of a few layers: 8-pixel images, 4-cell latents.

    All who open it, or a copy, are given one model.
    """
    from tests.support.micro_model import make_micro_checkpoint
    from tests.support.shared_models import models_are_shared

    with models_are_shared():
        yield make_micro_checkpoint(tmp_path_factory.mktemp("micro"))


@pytest.fixture(scope="session")
def tiny():
    """(model, params) of the embedded Stable Diffusion, float32."""
    from dreamda_jax.models.stable_diffusion import loading

    return loading.load("sample")
