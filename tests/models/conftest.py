"""Fixtures of the model tests: the embedded model, and a tiny random Stable Diffusion 2."""

import shutil
from pathlib import Path

import pytest

from dreamda_jax.models.stable_diffusion import loading
from tests.support.make_checkpoint import TINY_SD, make_tiny_sd2


@pytest.fixture(scope="session")
def tiny_sd2_directory(tmp_path_factory):
    """The checkpoint behind tests/reference/model_tiny_sd2.npz, made anew."""
    return make_tiny_sd2(tmp_path_factory.mktemp("tiny_sd2"))


@pytest.fixture(scope="session")
def tiny_sd2(tiny_sd2_directory):
    """(model, params) of the random Stable Diffusion 2, float32."""
    return loading.load(tiny_sd2_directory)


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the embedded checkpoint that a test may damage."""
    return Path(shutil.copytree(TINY_SD, tmp_path / "checkpoint"))
