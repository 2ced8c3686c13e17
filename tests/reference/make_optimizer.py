"""Make `optimizer.npz`: optimizer trajectories of torch, learning rates of timm.

Needs an environment apart from the project's: torch 2.14.1, torchvision 0.29.1, timm 1.0.

    TORCHENV/bin/python tests/reference/make_optimizer.py

The parameters are a matrix [3, 4] and a bias [4]; the gradient at step k is `gradients[k]` plus the
parameters themselves, so that an error in one step shows in the next.
"""

from pathlib import Path

import numpy as np
import torch
from timm.scheduler import CosineLRScheduler, StepLRScheduler

STEPS = 6


def trajectory(make, start, gradients, clip_norm=0.0) -> np.ndarray:
    """All parameters after each step, flattened: [steps, 16]."""
    matrix = torch.nn.Parameter(torch.from_numpy(start[:12].reshape(3, 4).copy()))
    bias = torch.nn.Parameter(torch.from_numpy(start[12:].copy()))
    optimizer = make(matrix, bias)
    rows = []
    for gradient in torch.from_numpy(gradients):
        matrix.grad = gradient[:12].reshape(3, 4) + matrix.detach()
        bias.grad = gradient[12:] + bias.detach()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_([matrix, bias], clip_norm)
        optimizer.step()
        rows.append(torch.cat([matrix.detach().reshape(-1), bias.detach()]).numpy().copy())
    return np.stack(rows)


def rates(scheduler_class, steps, **options) -> np.ndarray:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scheduler = scheduler_class(optimizer, t_in_epochs=False, **options)
    found = []
    for step in range(steps):
        scheduler.step_update(step)
        found.append(optimizer.param_groups[0]["lr"])
    return np.array(found)


def main() -> None:
    """Write the arrays beside this script."""
    random = np.random.default_rng(0)
    start = random.standard_normal(16).astype(np.float32)
    gradients = random.standard_normal((STEPS, 16)).astype(np.float32)

    def groups(matrix, bias, decay):
        return [
            {"params": [matrix], "weight_decay": decay},
            {"params": [bias], "weight_decay": 0.0},
        ]

    def sgd(matrix, bias):
        return torch.optim.SGD(groups(matrix, bias, 0.01), lr=0.1, momentum=0.9, nesterov=True)

    def adamw(matrix, bias):
        return torch.optim.AdamW(groups(matrix, bias, 0.05), lr=0.1, betas=(0.9, 0.999))

    warm = {"warmup_t": 7, "warmup_lr_init": 1e-5, "warmup_prefix": False}
    np.savez_compressed(
        Path(__file__).parent / "optimizer.npz",
        start=start,
        gradients=gradients,
        sgd=trajectory(sgd, start, gradients),
        sgd_clipped=trajectory(sgd, start, gradients, clip_norm=1.0),
        adamw=trajectory(adamw, start, gradients),
        cosine=rates(CosineLRScheduler, 100, t_initial=100, **warm),
        cosine_without_warmup=rates(CosineLRScheduler, 100, t_initial=100),
        step=rates(StepLRScheduler, 100, decay_t=30, decay_rate=0.1, **warm),
    )


if __name__ == "__main__":
    main()
