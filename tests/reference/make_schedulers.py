"""What diffusers makes of schedulers' configs of several classes, for schedulers.npz.

    pip install diffusers==0.42.1 transformers==5.24.0 torch==2.14.0
    python tests/reference/make_schedulers.py

Of each of `CONFIGS`, files as people have them: `DDIMScheduler.from_config`, and the same inside a
`StableDiffusionPipeline`, which corrects it.
"""

from pathlib import Path
from typing import Any

import numpy as np

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS = 25
EVERY = 37  # of ᾱ

CONFIGS: dict[str, dict[str, Any]] = {
    "pndm_of_sd15": {
        "_class_name": "PNDMScheduler",
        **BETAS,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
    },
    "pndm_without_set_alpha_to_one": {"_class_name": "PNDMScheduler", **BETAS, "steps_offset": 1},
    "ddim_of_the_first_months": {
        "_class_name": "DDIMScheduler",
        **BETAS,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
    },
    "ddim_that_clips": {
        "_class_name": "DDIMScheduler",
        **BETAS,
        "clip_sample": True,
        "set_alpha_to_one": True,
        "steps_offset": 0,
    },
    "ddim_trailing_v": {
        "_class_name": "DDIMScheduler",
        **BETAS,
        "clip_sample": False,
        "prediction_type": "v_prediction",
        "set_alpha_to_one": False,
        "steps_offset": 0,
        "timestep_spacing": "trailing",
    },
    "dpm_solver": {
        "_class_name": "DPMSolverMultistepScheduler",
        **BETAS,
        "algorithm_type": "dpmsolver++",
        "lower_order_final": True,
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "solver_order": 2,
        "solver_type": "midpoint",
        "steps_offset": 1,
        "thresholding": False,
        "timestep_spacing": "leading",
        "use_karras_sigmas": True,
    },
    "dpm_solver_linspace": {
        "_class_name": "DPMSolverMultistepScheduler",
        **BETAS,
        "prediction_type": "v_prediction",
        "timestep_spacing": "linspace",
    },
    "lms": {"_class_name": "LMSDiscreteScheduler", **BETAS, "num_train_timesteps": 1000},
    "euler": {
        "_class_name": "EulerDiscreteScheduler",
        **BETAS,
        "interpolation_type": "linear",
        "prediction_type": "epsilon",
        "sample_max_value": 1.0,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "timestep_spacing": "leading",
        "use_karras_sigmas": False,
    },
    "euler_ancestral": {
        "_class_name": "EulerAncestralDiscreteScheduler",
        **BETAS,
        "steps_offset": 1,
        "timestep_spacing": "trailing",
    },
    "lcm": {
        "_class_name": "LCMScheduler",
        **BETAS,
        "clip_sample": False,
        "original_inference_steps": 50,
        "set_alpha_to_one": True,
        "steps_offset": 1,
        "timestep_scaling": 10.0,
        "timestep_spacing": "leading",
    },
    "lcm_without_set_alpha_to_one": {"_class_name": "LCMScheduler", **BETAS, "steps_offset": 1},
    "unipc_of_few_fields": {"_class_name": "UniPCMultistepScheduler", "beta_end": 0.012},
    "ddpm_cosine": {
        "_class_name": "DDPMScheduler",
        "beta_schedule": "squaredcos_cap_v2",
        "clip_sample": True,
        "num_train_timesteps": 500,
        "variance_type": "fixed_small",
    },
}


def make_scheduler_arrays() -> dict[str, np.ndarray]:
    """By config and way of reading: every 37th ᾱ, the timesteps of 25 steps, the final ᾱ."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    arrays = {}
    parts = ("vae", "text_encoder", "tokenizer", "unet", "safety_checker", "feature_extractor")
    for name, config in CONFIGS.items():
        for way in ("from_config", "pipeline"):
            scheduler = DDIMScheduler.from_config(config)
            if way == "pipeline":
                scheduler = StableDiffusionPipeline(
                    **dict.fromkeys(parts), scheduler=scheduler, requires_safety_checker=False
                ).scheduler
            scheduler.set_timesteps(STEPS)
            prefix = f"{name}_{way}"
            arrays[f"{prefix}_alphas"] = scheduler.alphas_cumprod.numpy()[::EVERY]
            arrays[f"{prefix}_timesteps"] = scheduler.timesteps.numpy()
            arrays[f"{prefix}_final_alpha"] = scheduler.final_alpha_cumprod.numpy()
            arrays[f"{prefix}_clip_sample"] = np.asarray(scheduler.config.clip_sample)
            arrays[f"{prefix}_v"] = np.asarray(scheduler.config.prediction_type == "v_prediction")
    return arrays


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).with_name("schedulers.npz"), **make_scheduler_arrays())
