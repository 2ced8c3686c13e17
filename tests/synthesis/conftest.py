"""The embedded model, shared by the tests of this folder."""

import pytest

from dreamda_jax.models import stable_diffusion


@pytest.fixture(scope="session")
def tiny():
    """(model, params) of the embedded Stable Diffusion, float32."""
    return stable_diffusion.load("sample")
