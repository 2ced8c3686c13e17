"""Fixtures of the model tests: the embedded model, and a tiny random Stable Diffusion 2."""

import shutil
from pathlib import Path

import pytest

from dreamda_jax.models.stable_diffusion import loading
from tests.support.make_checkpoint import TINY_SD, TINY_SD2, make_checkpoint


@pytest.fixture(scope="session")
def tiny_sd2_directory(tmp_path_factory):
    """The checkpoint behind tests/reference/model_tiny_sd2.npz, made anew."""
    directory = tmp_path_factory.mktemp("tiny_sd2")
    make_checkpoint(
        directory,
        unet_config=TINY_SD2.unet,
        vae_config=TINY_SD2.vae,
        text_config=TINY_SD2.text_encoder,
        scheduler_config=TINY_SD2.scheduler,
        pad_token="!",
        dtype="float32",
    )
    return directory


@pytest.fixture(scope="session")
def tiny_sd2(tiny_sd2_directory):
    """(model, params) of the random Stable Diffusion 2, float32."""
    return loading.load(tiny_sd2_directory)


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the embedded checkpoint that a test may damage."""
    return Path(shutil.copytree(TINY_SD, tmp_path / "checkpoint"))
