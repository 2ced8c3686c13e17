"""Make multistep.npz: steps of PyTorch diffusers' DPMSolverMultistepScheduler.

Needs an environment apart from the project's: torch 2.13 (CPU), diffusers 0.39.0, numpy.

    TORCHENV/bin/python tests/reference/make_multistep.py

The scheduler is given the timesteps of this project (those of DDIMScheduler, the last int(N · 0.8)
of N), since its own spacing differs; what is compared is the arithmetic of its steps. The network's
outputs are random numbers that do not depend on the latents.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler

SHAPE = (2, 4, 3, 3)
COUNTS = (10, 25)


def run(num_steps: int, algorithm: str) -> dict[str, np.ndarray]:
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        solver_order=2,
        solver_type="midpoint",
        algorithm_type=algorithm,
        prediction_type="epsilon",
        lower_order_final=False,
        final_sigmas_type="sigma_min",
    )
    stride = 1000 // num_steps
    timesteps = (np.arange(num_steps)[::-1] * stride + 1)[-int(num_steps * 0.8) :].copy()
    bar = scheduler.alphas_cumprod.double().numpy()
    levels = np.append(bar[timesteps], bar[max(timesteps[-1] - stride, 0)])
    scheduler.set_timesteps(num_steps)
    scheduler.timesteps = torch.from_numpy(timesteps)
    scheduler.sigmas = torch.from_numpy(np.sqrt((1 - levels) / levels)).float()
    scheduler.num_inference_steps = len(timesteps)
    generator = torch.Generator().manual_seed(num_steps)
    draw = lambda *shape: torch.randn(*shape, *SHAPE, generator=generator)  # noqa: E731
    latents, outputs, noise = draw(), draw(len(timesteps)), draw(len(timesteps))
    made = {"start": latents.numpy().copy(), "outputs": outputs.numpy(), "noise": noise.numpy()}
    trajectory = []
    for i, t in enumerate(scheduler.timesteps):
        latents = scheduler.step(
            outputs[i], t, latents, variance_noise=noise[i], return_dict=False
        )[0]
        trajectory.append(latents.numpy())
    return made | {"trajectory": np.stack(trajectory)}


def main() -> None:
    arrays = {}
    for name, algorithm in (("ode", "dpmsolver++"), ("sde", "sde-dpmsolver++")):
        for count in COUNTS:
            made = run(count, algorithm)
            arrays |= {f"{name}_{count}_{key}": value for key, value in made.items()}
    file = Path(__file__).parent / "multistep.npz"
    np.savez_compressed(file, **arrays)
    print(file, file.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
