"""Caltech-101, expanded 20 times with Stable Diffusion 1.5 (the paper's setting).

    python -m dreamda_jax.generate --config configs/caltech101.py --dry_run
    python -m dreamda_jax.generate --config configs/caltech101.py

3,059 seed images become 61,180 images of 512 x 512, 164.0 U-Net rows each; `--dry_run` prints the
TFLOP. It wants accelerators. The data set must be prepared once, as ArrayRecord, which needs
tensorflow:

    pip install 'dreamda-jax[prepare]'
    tfds build caltech101 --file_format=array_record
"""

from ml_collections import ConfigDict

from dreamda_jax.configs import defaults


def get_config(method: str = "dreamda") -> ConfigDict:
    """Caltech-101: expansion 20."""
    config = defaults.get_tfds_config("caltech101", method, split="train", num_variants=20)
    if method == "gif":  # as the authors' release sets it for this data set
        config.method.update({"guidance_scale": 5.0, "strength": 0.9, "epsilon": 4.0})
    return config
