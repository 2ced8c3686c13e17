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

from configs import defaults


def get_config() -> ConfigDict:
    """Stanford Cars: expansion 20."""
    return defaults.get_tfds_config("cars196", split="train", num_variants=20)
