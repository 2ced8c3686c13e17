"""The VAE of drawn sizes against PyTorch diffusers, any version from 0.39.

Run with `pytest -m parity -s` in an environment with the extra "parity": -s shows the worst cases.
PARITY_EXAMPLES=200 draws as many.
"""

import tempfile

import jax
import numpy as np
import pytest

from dreamda_jax.models.flax_modules import build_module
from dreamda_jax.models.stable_diffusion.networks.vae import FlaxAutoencoderKL
from tests.parity.drawn_networks import Worst, drawn_again, fill, our_params

torch = pytest.importorskip("torch")
pytest.importorskip("hypothesis")
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def worst():
    seen = Worst()
    yield seen
    seen.report()


@st.composite
def vaes(draw):
    """The config of a VAE."""
    count, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 4, 8]))
    widths = [groups * draw(st.integers(1, 24 // groups)) for _ in range(count)]
    return {
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * count,
        "up_block_types": ["UpDecoderBlock2D"] * count,
        "layers_per_block": draw(st.integers(1, 2)),
        "latent_channels": draw(st.sampled_from([1, 3, 4, 8, 16])),
        "norm_num_groups": groups,
        "use_quant_conv": draw(st.booleans()),
        "use_post_quant_conv": draw(st.booleans()),
        "mid_block_add_attention": draw(st.booleans()),
    }


def nchw(array):
    return torch.from_numpy(array.transpose(0, 3, 1, 2).copy())


def nhwc(tensor):
    return tensor.permute(0, 2, 3, 1).contiguous()


@drawn_again
@given(
    config=vaes(),
    cells=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    odd=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    offset=st.sampled_from([0.0, 1.0, 5.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_vaes(worst, config, cells, odd, offset, seed):
    """Images are no squares, and need not be whole numbers of cells; features have large means."""
    from diffusers import AutoencoderKL

    theirs = fill(AutoencoderKL(**config), seed)
    with torch.no_grad():
        for part in (theirs.encoder, theirs.decoder):
            part.conv_in.bias += offset
    module = build_module(FlaxAutoencoderKL, config)
    rng = np.random.default_rng(seed)
    scale = 2 ** (len(config["block_out_channels"]) - 1)
    size = [count * scale + extra % scale for count, extra in zip(cells, odd, strict=True)]
    pixels = rng.uniform(-1, 1, (2, *size, 3)).astype(np.float32)
    latents = rng.standard_normal((2, *cells, config["latent_channels"])).astype(np.float32)
    with tempfile.TemporaryDirectory() as directory:
        params = our_params(theirs, module, pixels, directory=directory)

    @jax.jit
    def both(variables, pixels, latents):
        posterior = module.apply(variables, pixels, method="encode")
        return posterior, module.apply(variables, latents, method="decode")

    posterior, decoded = both({"params": params}, pixels, latents)
    with torch.no_grad():
        single = theirs.encode(nchw(pixels)).latent_dist, theirs.decode(nchw(latents)).sample
        theirs.double()
        double = (
            theirs.encode(nchw(pixels).double()).latent_dist,
            theirs.decode(nchw(latents).double()).sample,
        )
    for name in ("mean", "std"):
        worst.check(
            f"encoder, {name}",
            getattr(posterior, name),
            *(nhwc(getattr(found[0], name)) for found in (single, double)),
        )
    worst.check("decoder", decoded, nhwc(single[1]), nhwc(double[1]))
