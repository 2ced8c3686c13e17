"""Make the reference arrays of this folder with PyTorch diffusers.

Needs an environment apart from the project's: Python 3.11, torch 2.13 (CPU), diffusers 0.39.0,
transformers 4.57.6, safetensors, numpy, without torchvision. The second model has random weights,
made in the project's own environment; the same seed gives the same weights in the tests:

    .venv/bin/python -m tests.support.make_checkpoint --size tiny_sd2 --dtype float32 --output SD2
    TORCHENV/bin/python tests/reference/make_reference.py --sd2_checkpoint SD2

README.md here lists every array.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMInverseScheduler, DDIMScheduler, UNet2DConditionModel
from diffusers.pipelines.deprecated.stable_diffusion_variants import pipeline_cycle_diffusion
from transformers import CLIPTextModel, CLIPTokenizer

HERE = Path(__file__).parent
SAMPLE = HERE.parent.parent / "dreamda_jax" / "sample"

PROMPTS = (
    "a photo of a dress",
    "",
    "A  dark,   wide ANKLE BOOT!",
    "a photo of a " + "very " * 40 + "long t-shirt",  # cut to the tokenizer's length
    "café “ñ” 北京 🙂 don't",
)
TIMESTEPS = (0, 1, 261, 500, 981, 999)
STEP_COUNTS = (10, 20, 25, 30, 50, 100, 333, 999)
STRENGTHS = (0.3, 0.5, 0.8, 1.0)
ETAS = (0.0, 0.5, 1.0)
PREDICTIONS = ("epsilon", "v_prediction")
STABLE_DIFFUSION = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))


def model_arrays(directory: Path) -> dict[str, np.ndarray]:
    unet = UNet2DConditionModel.from_pretrained(directory, subfolder="unet").eval()
    vae = AutoencoderKL.from_pretrained(directory, subfolder="vae").eval()
    text_encoder = CLIPTextModel.from_pretrained(directory, subfolder="text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(directory, subfolder="tokenizer")
    ids = tokenizer(
        list(PROMPTS),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    hidden = text_encoder(ids).last_hidden_state
    context = hidden[:2]
    latents = normal(2, 4, 8, 8, seed=1)
    side = 8 // 2 ** (len(unet.config.block_out_channels) - 1)
    residual = normal(2, unet.config.block_out_channels[-1], side, side, seed=2)
    # PyTorch ignores the middle residual unless residuals for the encoder come with it.
    blocks = len(unet.config.block_out_channels)
    no_residuals = (torch.zeros(()),) * (blocks * (unet.config.layers_per_block + 1))

    images = real_and_random_images()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    scaling = vae.config.scaling_factor
    encoded = vae.encode(pixels).latent_dist.mean * scaling
    decoded = vae.decode(latents / scaling).sample

    out = {
        "prompts": np.array(PROMPTS),
        "token_ids": ids.numpy().astype(np.int32),
        "text_hidden": hidden,
        "timesteps": np.array(TIMESTEPS, np.int32),
        "latents": latents,
        "unet": torch.stack([unet(latents, t, context).sample for t in TIMESTEPS]),
        "unet_per_row": unet(latents, torch.tensor([261, 981]), context).sample,
        "residual": residual,
        "unet_residual": torch.stack(
            [
                unet(
                    latents,
                    t,
                    context,
                    mid_block_additional_residual=residual,
                    down_block_additional_residuals=no_residuals,
                ).sample
                for t in TIMESTEPS
            ]
        ),
        "images": images,
        "encoded": encoded,
        "decoded": decoded.permute(0, 2, 3, 1),
    }
    scheduler = DDIMScheduler.from_pretrained(directory, subfolder="scheduler")
    return out | chain_arrays(unet, scheduler, encoded, context)


def real_and_random_images() -> np.ndarray:
    grey = np.load(SAMPLE / "fashion20.npz")["validation_images"][0]
    padded = np.repeat(np.pad(grey, 2)[..., None], 3, axis=-1)
    noise = np.random.default_rng(3).integers(0, 256, padded.shape)
    return np.stack([padded, noise]).astype(np.uint8)


def chain_arrays(
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
    clean: torch.Tensor,
    context: torch.Tensor,
) -> dict[str, np.ndarray]:
    """Whole trajectories of ten steps: DDIM inversion, DDIM reverse, CycleDiffusion inversion."""
    scheduler.set_timesteps(10)
    inverse = DDIMInverseScheduler.from_config(scheduler.config)
    inverse.set_timesteps(10)
    noises = normal(10, *clean.shape, seed=4)
    inverted = [clean]
    for t in inverse.timesteps:
        output = unet(inverted[-1], t, context).sample
        inverted.append(inverse.step(output, t, inverted[-1]).prev_sample)
    out = {
        "chain_noises": noises,
        "chain_inverse_timesteps": inverse.timesteps.numpy(),
        "chain_timesteps": scheduler.timesteps.numpy(),
        "chain_inverted": torch.stack(inverted),
    }
    for eta in (0.0, 1.0):
        states = [noises[0]]
        for i, t in enumerate(scheduler.timesteps):
            output = unet(states[-1], t, context).sample
            step = scheduler.step(output, t, states[-1], eta=eta, variance_noise=noises[i])
            states.append(step.prev_sample)
        out[f"chain_reversed_eta{eta:g}"] = torch.stack(states)
    return out


def timestep_arrays() -> dict[str, np.ndarray]:
    out = {}
    for schedule in ("scaled_linear", "linear", "squaredcos_cap_v2"):
        config = {**STABLE_DIFFUSION, "beta_schedule": schedule}
        out[f"alphas_cumprod_{schedule}"] = DDIMScheduler(**config).alphas_cumprod
    for spacing in ("leading", "trailing", "linspace"):
        for offset in (0, 1):
            config = {**STABLE_DIFFUSION, "timestep_spacing": spacing, "steps_offset": offset}
            scheduler = DDIMScheduler(**config)
            for n in STEP_COUNTS:
                scheduler.set_timesteps(n)
                name = f"{spacing}_offset{offset}_n{n}"
                out[f"timesteps_{name}"] = scheduler.timesteps.numpy().astype(np.int32)
                for strength in STRENGTHS:
                    # StableDiffusionImg2ImgPipeline.get_timesteps
                    start = max(n - min(int(n * strength), n), 0)
                    kept = scheduler.timesteps[start * scheduler.order :]
                    out[f"img2img_{name}_s{strength:g}"] = kept.numpy().astype(np.int32)
    return out


def step_arrays() -> dict[str, np.ndarray]:
    sample, output, noise = (normal(2, 4, 8, 8, seed=seed) for seed in (5, 6, 7))
    out = {"sample": sample, "model_output": output, "noise": noise}
    for prediction in PREDICTIONS:
        for to_one in (False, True):
            config = {**STABLE_DIFFUSION, "prediction_type": prediction, "set_alpha_to_one": to_one}
            scheduler = DDIMScheduler(**config)
            for n in (25, 100):
                scheduler.set_timesteps(n)
                for t in scheduler.timesteps[[0, n // 2, -1]].tolist():
                    for eta in ETAS:
                        step = scheduler.step(output, t, sample, eta=eta, variance_noise=noise)
                        name = f"{prediction}_one{int(to_one)}_n{n}_t{t}_eta{eta:g}"
                        out[f"step_{name}"] = step.prev_sample
                        out[f"x0_{name}"] = step.pred_original_sample
        config = {**STABLE_DIFFUSION, "prediction_type": prediction}
        inverse = DDIMInverseScheduler(**config)
        for n in (25, 100):
            inverse.set_timesteps(n)
            out[f"inverse_timesteps_n{n}"] = inverse.timesteps.numpy().astype(np.int32)
            for t in inverse.timesteps[[0, n // 2, -1]].tolist():
                step = inverse.step(output, t, sample)
                out[f"inverse_{prediction}_n{n}_t{t}"] = step.prev_sample
    return out


def cycle_arrays() -> dict[str, np.ndarray]:
    clean, latents, prediction, noise = (normal(2, 4, 8, 8, seed=s) for s in (8, 9, 10, 11))
    out = {"clean": clean, "latents": latents, "noise_pred": prediction, "noise": noise}
    # posterior_sample draws from a generator; hand it the recorded noise instead.
    pipeline_cycle_diffusion.randn_tensor = lambda *args, **kwargs: noise
    scheduler = DDIMScheduler(**STABLE_DIFFUSION)
    for n in (25, 100):
        scheduler.set_timesteps(n)
        kept = scheduler.timesteps[n - int(n * 0.8) :]
        for t in kept[[0, len(kept) // 2, -2, -1]].tolist():
            for eta in (0.5, 1.0):
                previous = pipeline_cycle_diffusion.posterior_sample(
                    scheduler, latents, t, clean, None, eta
                )
                recovered = pipeline_cycle_diffusion.compute_noise(
                    scheduler, previous, latents, t, prediction, eta
                )
                out[f"posterior_n{n}_t{t}_eta{eta:g}"] = previous
                out[f"recovered_n{n}_t{t}_eta{eta:g}"] = recovered
    return out


def save(name: str, arrays: dict[str, np.ndarray | torch.Tensor]) -> None:
    numpy = {key: np.asarray(value) for key, value in arrays.items()}
    wrong = {key: a.dtype for key, a in numpy.items() if a.dtype == np.float64}
    if wrong:
        raise TypeError(f"not float32: {wrong}")
    np.savez_compressed(HERE / f"{name}.npz", **numpy)
    print(f"{name}.npz: {len(numpy)} arrays, {(HERE / f'{name}.npz').stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sd2_checkpoint", type=Path, required=True)
    flags = parser.parse_args()
    torch.manual_seed(0)
    with torch.no_grad():
        save("model_tiny", model_arrays(SAMPLE / "tiny_sd"))
        save("model_tiny_sd2", model_arrays(flags.sd2_checkpoint))
        save("timesteps", timestep_arrays())
        save("steps", step_arrays())
        save("cycle", cycle_arrays())


if __name__ == "__main__":
    main()
