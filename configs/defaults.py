"""The fields every configuration has, with the paper's settings; each data set changes a few.

Sections end at the entry points: below them everything takes keyword arguments of the same names,
whose docstrings say what they mean (`source`: dreamda_jax/data, `method`:
dreamda_jax/synthesis/dreamda.py).
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    """Stable Diffusion 1.5 at 512 pixels, CycleDiffusion, σ_h = 3, ten variants."""
    config = ConfigDict()
    config.model = ConfigDict(
        {
            "path": "stable-diffusion-v1-5/stable-diffusion-v1-5",  # or a directory, or "sample"
            "revision": placeholder(str),
            "dtype": "bfloat16",
        }
    )
    config.source = ConfigDict({"kind": "folder"})
    config.image = ConfigDict({"resolution": 512, "crop": "center"})
    config.prompt = ConfigDict({"template": "A photo of a {class}", "file": placeholder(str)})
    config.method = ConfigDict(
        {
            "name": "dreamda",
            "num_inference_steps": 100,
            "strength": 0.8,
            "eta": 1.0,
            "guidance_scale": 7.5,
            "noise_scale": 3.0,
            "site": "bottleneck",
            "update_rule": "official",  # ConfigDict has a method called update
            "cfg_noise": "independent",
            "inversion": "cyclediffusion",
            "posterior_noise": "shared",
            "source_prompt": "",
            "source_guidance_scale": 1.0,
            "variants_per_pass": 5,
        }
    )
    config.synthesis = ConfigDict(
        {
            "num_variants": 10,  # the expansion: synthetic images per seed image
            "max_seeds": 0,  # 0 is the whole set
            "seed": 0,  # of every random draw
            "seeds_per_device": 1,  # seed images per call of the program on one device
            "seeds_per_shard": 8,  # what a run that is killed may lose
        }
    )
    config.output = ConfigDict({"path": "runs/dreamda", "format": "png", "quality": 95})
    config.loader = ConfigDict({"num_workers": 4})  # worker processes that decode images
    return config


def get_tfds_config(name: str, *, split: str, num_variants: int) -> ConfigDict:
    """The same for an image classification set of TFDS, written to runs/<name>."""
    config = get_config()
    config.source = ConfigDict(
        {
            "kind": "tfds",
            "name": name,
            "split": split,
            "data_dir": placeholder(str),  # default: ~/tensorflow_datasets
        }
    )
    config.synthesis.num_variants = num_variants
    config.output.path = f"runs/{name}"
    return config
