"""Make `unet.npz`: outputs of PyTorch diffusers' U-Net, of every kind that ours knows.

Needs torch (CPU) and diffusers beside the project, such as an environment with the extra "parity".
Weights and inputs are made by `tests/support/drawn_unets.py`, for whoever asks for them:

    python -m tests.reference.make_unet
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel

from tests.support.drawn_unets import torch_tensors, unet_inputs
from tests.support.unet_cases import CASES, INPUT_SEED, WEIGHTS


@torch.no_grad()
def main() -> None:
    """Writes the file."""
    outputs = {}
    for name, (config, sizes) in CASES.items():
        unet = UNet2DConditionModel(**config).eval()
        shapes = {key: tuple(tensor.shape) for key, tensor in unet.state_dict().items()}
        tensors = torch_tensors(shapes, **WEIGHTS)
        unet.load_state_dict({key: torch.from_numpy(tensor) for key, tensor in tensors.items()})
        inputs = unet_inputs(config, **sizes, seed=INPUT_SEED)
        arrays = {key: torch.from_numpy(array) for key, array in inputs.items()}
        added = {key: arrays.pop(key) for key in ("text_embeds", "time_ids") if key in arrays}
        timesteps = arrays.pop("timesteps")
        outputs[name] = unet(
            timestep=timesteps, **arrays, added_cond_kwargs=added or None
        ).sample.numpy()
    np.savez(Path(__file__).with_name("unet.npz"), **outputs)


if __name__ == "__main__":
    main()
