"""The embedded sample: 200 Fashion-MNIST images and a tiny Stable Diffusion, on a laptop CPU.

python -m dreamda_jax.generate --config configs/fashion.py
"""

from ml_collections import ConfigDict

from configs import defaults


def get_config() -> ConfigDict:
    """32 pixels, 25 steps, guidance 3."""
    config = defaults.get_config()
    config.model.update({"path": "sample", "dtype": "float32"})
    config.source = ConfigDict({"kind": "sample", "split": "train"})
    config.image.resolution = 32
    config.prompt.template = "a photo of a {class}"  # as the tiny model was trained
    config.method.update(
        {
            "num_inference_steps": 25,
            "guidance_scale": 3.0,
            "noise_scale": 3.0,
            "variants_per_pass": 0,
        }
    )
    config.synthesis.update({"num_variants": 4, "seeds_per_device": 10, "seeds_per_shard": 20})
    config.output.path = "runs/fashion"
    config.loader.num_workers = 0
    return config
