"""Make `finetuning.npz`: losses and training steps of PyTorch diffusers.

Needs the environment of make_reference.py, and its second model:

    .venv/bin/python -m tests.support.make_checkpoint --size tiny_sd2 --dtype float32 --output SD2
    TORCHENV/bin/python tests/reference/make_finetuning.py --sd2_checkpoint SD2

Loss, min-SNR weights and their target are those of diffusers'
examples/text_to_image/train_text_to_image.py; so are clipping, AdamW and EMAModel. diffusers has no
P2 weights: 1 / (k + SNR)^gamma is the formula of arXiv 2204.00227 for the squared error of epsilon.
The paper has no v-prediction; there the weight is ours, alpha_bar times that of epsilon, which is
the same objective (an error in x_0 shows alpha_bar times larger as a squared error of epsilon than
as one of v). README.md here lists every array.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel, compute_snr
from transformers import CLIPTextModel, CLIPTokenizer

HERE = Path(__file__).parent
SAMPLE = HERE.parent.parent / "dreamda_jax" / "sample" / "tiny_sd"

PROMPTS = ("a photo of a dress", "a photo of a ankle boot", "", "a photo of a bag")
STEPS = 3
MIN_SNR_GAMMA = 5.0
P2 = {"p2": 1.0, "p2_half": 0.5}  # gamma; k is 1
WEIGHTINGS = ("none", *P2, "min_snr")
CLIP_NORM = 1.0
# Of every kind of layer and layout one small tensor: the whole network would be 15 MB each time.
KEPT = (
    "conv_in.weight",
    "time_embedding.linear_1.bias",
    "down_blocks.0.attentions.0.proj_in.bias",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
    "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj.bias",
    "down_blocks.1.resnets.0.norm1.weight",
    "mid_block.attentions.0.norm.weight",
    "mid_block.attentions.0.transformer_blocks.0.norm3.bias",
    "up_blocks.0.upsamplers.0.conv.bias",
    "up_blocks.1.attentions.1.transformer_blocks.0.attn1.to_out.0.bias",
    "up_blocks.1.resnets.0.time_emb_proj.bias",
    "conv_norm_out.weight",
    "conv_out.weight",
    "conv_out.bias",
)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))


class Model:
    """A U-Net, its scheduler and the data of all steps."""

    def __init__(self, directory: Path) -> None:
        load = {"pretrained_model_name_or_path": directory}
        self.unet = UNet2DConditionModel.from_pretrained(**load, subfolder="unet")
        # As the script does, which takes the DDPM scheduler whatever the checkpoint names.
        self.scheduler = DDPMScheduler.from_pretrained(**load, subfolder="scheduler")
        tokenizer = CLIPTokenizer.from_pretrained(**load, subfolder="tokenizer")
        ids = tokenizer(
            list(PROMPTS),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        text_encoder = CLIPTextModel.from_pretrained(**load, subfolder="text_encoder").eval()
        with torch.no_grad():
            self.context = text_encoder(ids)[0]
        self.latents = normal(4, 4, 8, 8, seed=20)
        self.noises = normal(STEPS, 4, 4, 8, 8, seed=21)
        # The first step has a row with so little noise that min-SNR limits its weight.
        timesteps = np.random.default_rng(29).integers(0, 1000, (STEPS, 4))
        self.timesteps = torch.from_numpy(timesteps)

    def errors(self, step: int) -> torch.Tensor:
        """The squared error of each row."""
        noise, timesteps = self.noises[step], self.timesteps[step]
        noisy = self.scheduler.add_noise(self.latents, noise, timesteps)
        if self.scheduler.config.prediction_type == "epsilon":
            target = noise
        else:
            target = self.scheduler.get_velocity(self.latents, noise, timesteps)
        prediction = self.unet(noisy, timesteps, self.context, return_dict=False)[0]
        loss = F.mse_loss(prediction.float(), target.float(), reduction="none")
        return loss.mean(dim=list(range(1, len(loss.shape))))

    def weights(self, weighting: str, timesteps: torch.Tensor) -> torch.Tensor:
        prediction_type = self.scheduler.config.prediction_type
        if weighting == "none":
            return torch.ones(timesteps.shape)
        snr = compute_snr(self.scheduler, timesteps)
        if weighting in P2:
            weights = 1 / (1 + snr) ** P2[weighting]
            if prediction_type == "v_prediction":
                weights = weights * self.scheduler.alphas_cumprod[timesteps]
            return weights
        weights = torch.stack([snr, MIN_SNR_GAMMA * torch.ones_like(timesteps)], dim=1).min(dim=1)[
            0
        ]
        if prediction_type == "epsilon":
            return weights / snr
        return weights / (snr + 1)


def loss_arrays(model: Model) -> dict[str, np.ndarray | torch.Tensor]:
    with torch.no_grad():
        errors = model.errors(0)
    out = {
        "prediction_type": np.array(model.scheduler.config.prediction_type),
        "context": model.context,
        "latents": model.latents,
        "noises": model.noises,
        "timesteps": model.timesteps.numpy().astype(np.int32),
        "errors": errors,
    }
    for weighting in WEIGHTINGS:
        out[f"weights_{weighting}"] = model.weights(weighting, torch.arange(1000))
        weights = model.weights(weighting, model.timesteps[0])
        out[f"loss_{weighting}"] = (errors * weights).mean()
    return out


def step_arrays(model: Model) -> dict[str, np.ndarray | torch.Tensor]:
    """Three steps of the P2 loss, gamma 1, each with its own noise and timesteps."""
    parameters = dict(model.unet.named_parameters())
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8
    )
    ema = EMAModel(parameters.values(), decay=0.9999)
    kept = {name: parameters[name] for name in KEPT}
    out: dict[str, np.ndarray | torch.Tensor] = {
        "tensors": np.array(list(parameters)),
        "kept": np.array(KEPT),
    }
    losses, norms = [], []
    for step in range(STEPS):
        weights = model.weights("p2", model.timesteps[step])
        loss = (model.errors(step) * weights).mean()
        loss.backward()
        if step == 0:
            each = [torch.linalg.vector_norm(p.grad) for p in parameters.values()]
            out["tensor_gradient_norms"] = torch.stack(each)
            out |= {f"gradient.{name}": p.grad.clone() for name, p in kept.items()}
        losses.append(loss.detach())
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP_NORM))
        optimizer.step()
        optimizer.zero_grad()
        ema.step(parameters.values())
        if step < 2:
            out |= {f"step{step + 1}.{name}": p.detach().clone() for name, p in kept.items()}
    for name, p in kept.items():
        out[f"exp_avg.{name}"] = optimizer.state[p]["exp_avg"].clone()
        out[f"exp_avg_sq.{name}"] = optimizer.state[p]["exp_avg_sq"].clone()
    averages = dict(zip(parameters, ema.shadow_params, strict=True))
    out |= {f"ema.{name}": averages[name] for name in KEPT}
    return out | {"losses": torch.stack(losses), "gradient_norms": torch.stack(norms)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sd2_checkpoint", type=Path, required=True)
    flags = parser.parse_args()
    arrays: dict[str, np.ndarray] = {}
    for directory in (SAMPLE, flags.sd2_checkpoint):
        model = Model(directory)
        found = loss_arrays(model)
        name = str(found["prediction_type"])
        if name == "epsilon":
            found |= step_arrays(model)
        arrays |= {f"{name}/{key}": np.asarray(value) for key, value in found.items()}
    wrong = {key: a.dtype for key, a in arrays.items() if a.dtype == np.float64}
    if wrong:
        raise TypeError(f"not float32: {wrong}")
    file = HERE / "finetuning.npz"
    np.savez_compressed(file, **arrays)
    print(f"{file.name}: {len(arrays)} arrays, {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
