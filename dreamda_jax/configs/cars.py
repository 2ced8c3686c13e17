"""Stanford Cars, expanded 20 times with Stable Diffusion 1.5 (the paper's setting).

    python -m dreamda_jax.generate --config configs/cars.py --dry_run
    python -m dreamda_jax.generate --config configs/cars.py

8,144 seed images become 162,880 images of 512 x 512, 164.0 U-Net rows each; `--dry_run` prints the
TFLOP. It wants accelerators. The data set must be prepared once, as ArrayRecord, which needs
tensorflow:

    pip install 'dreamda-jax[prepare]'
    tfds build cars196 --file_format=array_record

If TFDS can no longer download the images, use them as an image folder: configs/folder.py.
"""

from ml_collections import ConfigDict

from dreamda_jax.configs import defaults


def get_config(method: str = "dreamda") -> ConfigDict:
    """Stanford Cars: expansion 20."""
    config = defaults.get_tfds_config("cars196", method, split="train", num_variants=20)
    if method == "gif":  # as the authors' release sets it for this data set
        config.method.update({"guidance_scale": 50.0, "strength": 0.9, "epsilon": 0.8})
    return config
