"""The smallest Stable Diffusion that has every part, for tests of everything around the network.

One block down, one up, 8-pixel images, a VAE that halves them: it compiles in seconds.
"""

from pathlib import Path

from dreamda_jax.plan.known_configs import KnownConfigs
from tests.support.make_checkpoint import TINY_SD2, make_checkpoint

MICRO = KnownConfigs(
    unet={
        **TINY_SD2.unet,
        "attention_head_dim": 1,
        "block_out_channels": [32, 32],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "sample_size": 4,
    },
    vae={
        **TINY_SD2.vae,
        "block_out_channels": [8, 8],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "sample_size": 8,
    },
    text_encoder={**TINY_SD2.text_encoder, "num_hidden_layers": 1},
    scheduler={**TINY_SD2.scheduler, "prediction_type": "epsilon"},
)


def make_micro_checkpoint(directory: Path) -> Path:
    """Writes the checkpoint, ε-prediction, the sample's tokenizer; returns its directory."""
    make_checkpoint(
        directory,
        unet_config=MICRO.unet,
        vae_config=MICRO.vae,
        text_config=MICRO.text_encoder,
        scheduler_config=MICRO.scheduler,
        dtype="float32",
    )
    return directory
