"""DreamDA on PyTorch diffusers, for comparison: as the release computes it, and batched.

Written plainly with diffusers' own networks and the formulas of docs/design.md §4. `official`
makes one image at a time: the source chain is run again for every variant, and every step calls the
U-Net on four rows (source and target, each unconditional and conditional). `batched` is the
algorithm of this project: the source chain once per seed with one row, then all variants of all
seeds together, two rows each.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer


class Settings(NamedTuple):
    """Of the method; `configs/fashion.py`'s by default."""

    num_inference_steps: int
    strength: float
    guidance_scale: float
    noise_scale: float


class Step(NamedTuple):
    """The coefficients of one step, η = 1."""

    timestep: int
    alpha: float
    alpha_previous: float
    sigma: float

    @property
    def direction(self) -> float:
        """√(1 − ᾱ_{t⁻} − σ²)."""
        return math.sqrt(max(1 - self.alpha_previous - self.sigma**2, 0))


class Networks:
    """A checkpoint in diffusers' layout, float32 on the CPU, without gradients."""

    def __init__(self, directory: Path) -> None:
        self.unet = UNet2DConditionModel.from_pretrained(directory / "unet").eval()
        self.vae = AutoencoderKL.from_pretrained(directory / "vae").eval()
        self._text = CLIPTextModel.from_pretrained(directory / "text_encoder").eval()
        self._tokenizer = CLIPTokenizer.from_pretrained(directory / "tokenizer")

    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        """[b, l, d]."""
        ids = self._tokenizer(
            prompts,
            padding="max_length",
            max_length=self._tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return self._text(ids)[0]

    def encode_image(self, images: Any) -> torch.Tensor:
        """Uint8 [b, h, w, 3] to latents [b, 4, h', w']."""
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        return self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor

    def decode(self, latents: torch.Tensor) -> Any:
        """Latents to uint8 [b, h, w, 3]."""
        pixels = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        pixels = ((pixels + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).numpy()

    def perturbed(self, noise_scale: float, first: int, num_rows: int) -> Any:
        """A hook that adds noise at the bottleneck to `num_rows` rows from `first` on."""

        def add(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            rows = output[first : first + num_rows]
            noisy = rows + noise_scale * torch.randn_like(rows)
            return torch.cat([output[:first], noisy, output[first + num_rows :]])

        return self.unet.mid_block.register_forward_hook(add)


def schedule(settings: Settings) -> list[Step]:
    """Stable Diffusion 1.x: scaled-linear betas, offset 1, the last `int(N · strength)` steps."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    bar = torch.cumprod(1 - betas, 0)
    stride = 1000 // settings.num_inference_steps
    timesteps = [i * stride + 1 for i in reversed(range(settings.num_inference_steps))]
    timesteps = timesteps[-int(settings.num_inference_steps * settings.strength) :]
    steps = []
    for t in timesteps:
        now, before = float(bar[t]), float(bar[max(t - stride, 0)])
        variance = (1 - before) / (1 - now) * (1 - now / before)
        steps.append(Step(t, now, before, math.sqrt(variance)))
    return steps


def _x0(latents: torch.Tensor, epsilon: torch.Tensor, step: Step) -> torch.Tensor:
    return (latents - math.sqrt(1 - step.alpha) * epsilon) / math.sqrt(step.alpha)


def _mean(latents: torch.Tensor, epsilon: torch.Tensor, step: Step) -> torch.Tensor:
    clean = _x0(latents, epsilon, step)
    return math.sqrt(step.alpha_previous) * clean + step.direction * epsilon


def _posterior(latents: torch.Tensor, x0: torch.Tensor, step: Step, last: bool) -> torch.Tensor:
    if last:
        return x0
    epsilon = (latents - math.sqrt(step.alpha) * x0) / math.sqrt(1 - step.alpha)
    mean = math.sqrt(step.alpha_previous) * x0 + step.direction * epsilon
    return mean + step.sigma * torch.randn_like(x0)


def _start(x0: torch.Tensor, step: Step) -> torch.Tensor:
    return math.sqrt(step.alpha) * x0 + math.sqrt(1 - step.alpha) * torch.randn_like(x0)


@torch.inference_mode()
def official(
    networks: Networks, images: Any, prompts: list[str], num_variants: int, settings: Settings
) -> list[Any]:
    """The release's algorithm: image by image, variant by variant, four rows a step."""
    steps, made = schedule(settings), []
    hook = networks.perturbed(settings.noise_scale, first=2, num_rows=2)
    for image, prompt in zip(images, prompts, strict=True):
        empty, target = networks.encode_text(["", prompt])
        contexts = torch.stack([empty, empty, empty, target])
        x0 = networks.encode_image(image[None])
        start = _start(x0, steps[0])
        for _ in range(num_variants):
            source = latents = start
            for i, step in enumerate(steps):
                rows = torch.cat([source, source, latents, latents])
                output = networks.unet(rows, step.timestep, contexts).sample
                # Both source rows have the empty prompt: guidance of any scale is without effect.
                of_source, towards = output[1:2], output[3:4]
                away = output[2:3]
                epsilon = away + settings.guidance_scale * (towards - away)
                following = _posterior(source, x0, step, i == len(steps) - 1)
                noise = (following - _mean(source, of_source, step)) / step.sigma
                latents = _mean(latents, epsilon, step) + step.sigma * noise
                source = following
            made.append(networks.decode(latents)[0])
    hook.remove()
    return made


@torch.inference_mode()
def batched(
    networks: Networks,
    images: Any,
    prompts: list[str],
    num_variants: int,
    settings: Settings,
    *,
    seeds_per_call: int,
) -> list[Any]:
    """Our algorithm: the source chain once per seed, all variants together."""
    steps, made = schedule(settings), []
    for first in range(0, len(images), seeds_per_call):
        part = slice(first, first + seeds_per_call)
        texts = networks.encode_text(["", *prompts[part]])
        empty, targets = texts[:1], texts[1:]
        x0 = networks.encode_image(images[part])
        start = source = _start(x0, steps[0])
        recorded = []
        for i, step in enumerate(steps):
            context = empty.expand(len(x0), -1, -1)
            epsilon = networks.unet(source, step.timestep, context).sample
            following = _posterior(source, x0, step, i == len(steps) - 1)
            recorded.append((following - _mean(source, epsilon, step)) / step.sigma)
            source = following
        rows = len(x0) * num_variants
        hook = networks.perturbed(settings.noise_scale, first=0, num_rows=2 * rows)
        latents = start.repeat_interleave(num_variants, 0)
        contexts = torch.cat(
            [empty.expand(rows, -1, -1), targets.repeat_interleave(num_variants, 0)]
        )
        for step, noise in zip(steps, recorded, strict=True):
            output = networks.unet(torch.cat([latents] * 2), step.timestep, contexts).sample
            away, towards = output.chunk(2)
            epsilon = away + settings.guidance_scale * (towards - away)
            noise = noise.repeat_interleave(num_variants, 0)
            latents = _mean(latents, epsilon, step) + step.sigma * noise
        hook.remove()
        made += list(networks.decode(latents))
    return made
