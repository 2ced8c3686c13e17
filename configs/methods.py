"""Section `method` of a configuration: how images are made. Not a configuration by itself.

    python -m dreamda_jax.generate --config configs/fashion.py:sdedit
    python -m dreamda_jax.generate --config configs/pets.py:gif --dry_run
    python -m dreamda_jax.generate --config configs/pets.py:preset=fast

What follows the colon is the method, or a preset of dreamda; without it, it is dreamda. The options
of each are those of its class in dreamda_jax/synthesis, where they are explained. docs/methods.md
compares them.
"""

from typing import Any

from ml_collections import ConfigDict

from dreamda_jax.synthesis import presets

_PRESET = "preset="
_METHODS: dict[str, dict[str, Any]] = {
    # The perturbed reverse process (arXiv 2403.12803): dreamda_jax/synthesis/dreamda.py.
    "dreamda": {
        "num_inference_steps": 100,
        "strength": 0.8,
        "eta": 1.0,
        "solver": "ddim",  # or "dpm++2m", of the second order, for few steps
        "guidance_scale": 7.5,
        "noise_scale": 3.0,
        "site": "bottleneck",
        "update_rule": "official",  # ConfigDict has a method called update
        "cfg_noise": "independent",
        "inversion": "cyclediffusion",
        "posterior_noise": "shared",
        "source_prompt": "",
        "source_guidance_scale": 1.0,
        "encoder_every": 1,  # k > 1: the U-Net's encoder at every k-th step only
        "variants_per_pass": 5,
    },
    # Stable Diffusion from prompts alone: text_to_image.py.
    "text_to_image": {
        "num_inference_steps": 50,
        "eta": 0.0,
        "guidance_scale": 7.5,
        "variants_per_pass": 5,
    },
    # Noise a seed and denoise it (arXiv 2108.01073): sdedit.py.
    "sdedit": {
        "num_inference_steps": 50,
        "strength": 0.8,
        "eta": 0.0,
        "guidance_scale": 7.5,
        "variants_per_pass": 5,
    },
    # Variety from text alone (arXiv 2302.03298): bag_of_tricks.py.
    "bag_of_tricks": {
        "trick": "merged",  # or "class_prompt", "multi_domain", "random_guidance"
        "num_inference_steps": 50,
        "eta": 0.0,
        "guidance_scale": 7.5,
        "guidance_scale_min": 1.0,
        "guidance_scale_max": 5.0,
        "variants_per_pass": 5,
    },
    # Guided imagination (arXiv 2211.13976), with the CLIP of section clip: gif.py.
    "gif": {
        "num_inference_steps": 50,
        "strength": 0.7,
        "eta": 0.0,
        "guidance_scale": 50.0,
        "epsilon": 0.8,
        "step_size": 0.1,
        "prompt_style": "release",  # or "given": those of section prompt
        "variants_per_pass": 5,
    },
    # Diffusion Inversion (arXiv 2305.15316): diffusion_inversion.py.
    "diffusion_inversion": {
        "num_tokens": 5,
        "learning_steps": 3000,
        "learning_rate": 0.03,
        "weight_decay": 0.01,
        "interpolation": 0.1,
        "embedding_noise": 0.1,
        "num_inference_steps": 100,
        "eta": 1.0,
        "guidance_scale": 2.0,
        "variants_per_pass": 5,
    },
}


def method_config(argument: str) -> ConfigDict:
    """A method's settings, the papers', or those of a preset.

    Args:
      argument: the configuration's: a method's name, or "preset=" and a preset's name.

    Raises:
      ValueError: there is no such method or preset.
    """
    name = "dreamda" if argument.startswith(_PRESET) else argument
    if name not in _METHODS:
        raise ValueError(
            f"unknown method {name!r} (there are: {', '.join(_METHODS)}, and "
            f"{', '.join(_PRESET + preset for preset in presets.PRESETS)})"
        )
    return ConfigDict({"name": name, **_METHODS[name], **preset(argument)})


def preset(argument: str) -> dict[str, Any]:
    """What a preset sets, for configurations with settings of their own; {} of a method.

    Raises:
      ValueError: there is no such preset.
    """
    if not argument.startswith(_PRESET):
        return {}
    return presets.preset(argument.removeprefix(_PRESET))


def output(argument: str, path: str) -> str:
    """Where the images go: apart from those of other methods and presets."""
    return path if argument == "dreamda" else f"{path}_{argument.removeprefix(_PRESET)}"
