"""STL-10 (its labelled images), expanded 10 times with Stable Diffusion 1.5 (the paper's setting).

    python -m dreamda_jax.generate --config configs/stl10.py --dry_run
    python -m dreamda_jax.generate --config configs/stl10.py

5,000 seed images become 50,000 images of 512 x 512, 168.0 U-Net rows each; `--dry_run` prints the
TFLOP. It wants accelerators. The data set must be prepared once, as ArrayRecord, which needs
tensorflow:

    pip install 'dreamda-jax[prepare]'
    tfds build stl10 --file_format=array_record
"""

from ml_collections import ConfigDict

from dreamda_jax.configs import defaults


def get_config(method: str = "dreamda") -> ConfigDict:
    """STL-10 (its labelled images): expansion 10."""
    return defaults.get_tfds_config("stl10", method, split="train", num_variants=10)
