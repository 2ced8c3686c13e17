"""Make vae_and_text.npz with PyTorch diffusers' AutoencoderKL and transformers' text encoder.

Needs torch (CPU), diffusers and transformers beside the project, such as an environment with the
extra "parity".

    TORCH/bin/python -m tests.reference.make_vae_and_text

Weights are those of `make_clip.random_tensor`, so only outputs are stored. The tests import the
constants and the inputs.
"""

from pathlib import Path

import numpy as np

from tests.reference.make_clip import random_tensor

_BLOCKS = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}
# What neither of the small models has: other numbers of groups and latent channels, a VAE without
# its 1 x 1 convolutions or without attention, one size only.
VAES = {
    "plain": {**_BLOCKS, "block_out_channels": [12, 24], "norm_num_groups": 3},
    "bare": {
        **_BLOCKS,
        "block_out_channels": [8, 16],
        "norm_num_groups": 4,
        "layers_per_block": 2,
        "latent_channels": 6,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
    "no_attention": {
        "down_block_types": ["DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D"],
        "block_out_channels": [16],
        "norm_num_groups": 8,
        "mid_block_add_attention": False,
    },
}
# SDXL's second text encoder in miniature.
TEXT = {
    "hidden_act": "gelu",
    "hidden_size": 40,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "max_position_embeddings": 12,
    "vocab_size": 50,
    "projection_dim": 24,
    "layer_norm_eps": 1e-6,
    "eos_token_id": 49,
    "bos_token_id": 48,
    "pad_token_id": 0,
}


def pixels(name: str) -> np.ndarray:
    """float32 [2, 10, 7, 3], -1 .. 1: neither a square nor a whole number of cells."""
    rng = np.random.default_rng(len(name))
    return rng.uniform(-1, 1, (2, 10, 7, 3)).astype(np.float32)


def latents(name: str) -> np.ndarray:
    """float32 [2, 3, 5, z]."""
    channels = int(VAES[name].get("latent_channels", 4))  # type: ignore[call-overload]
    return np.random.default_rng(len(name)).standard_normal((2, 3, 5, channels), np.float32)


def token_ids() -> np.ndarray:
    """int32 [3, 12]: ends at the last place, in the middle, and twice."""
    ids = np.random.default_rng(0).integers(1, 48, (3, 12), np.int32)
    ids[:, 0] = 48
    ids[0, -1] = ids[1, 6] = ids[2, 4] = ids[2, 9] = 49
    return ids


def main() -> None:
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    def filled(module: torch.nn.Module) -> torch.nn.Module:
        state = module.state_dict()
        for name, tensor in state.items():
            if tensor.is_floating_point():
                values = np.array(random_tensor(name, tuple(tensor.shape)))
                tensor.copy_(torch.from_numpy(values))
        return module.eval()

    def nchw(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.transpose(0, 3, 1, 2).copy())

    arrays = {}
    with torch.no_grad():
        for name, config in VAES.items():
            vae = filled(AutoencoderKL(**config))
            found = vae.encode(nchw(pixels(name))).latent_dist
            outputs = {
                "mean": found.mean,
                "std": found.std,
                "decoded": vae.decode(nchw(latents(name))).sample,
            }
            for key, tensor in outputs.items():
                arrays[f"{name}/{key}"] = tensor.permute(0, 2, 3, 1).numpy()
        model = filled(CLIPTextModelWithProjection(CLIPTextConfig(**TEXT)))
        text = model(torch.from_numpy(token_ids()).long(), output_hidden_states=True)
    arrays["text/embedding"] = text.text_embeds.numpy()
    arrays["text/last_hidden_state"] = text.last_hidden_state.numpy()
    arrays["text/penultimate"] = text.hidden_states[-2].numpy()
    np.savez_compressed(Path(__file__).parent / "vae_and_text.npz", **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
