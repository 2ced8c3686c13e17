"""Oxford-IIIT Pet, expanded 30 times with Stable Diffusion 1.5 (the paper's setting).

    python -m dreamda_jax.generate --config configs/pets.py --dry_run
    python -m dreamda_jax.generate --config configs/pets.py

3,680 seed images become 110,400 images of 512 x 512, 162.7 U-Net rows each; `--dry_run` prints the
TFLOP. It wants accelerators. The data set must be prepared once, as ArrayRecord, which needs
tensorflow:

    pip install 'dreamda-jax[prepare]'
    tfds build oxford_iiit_pet --file_format=array_record
"""

from ml_collections import ConfigDict

from dreamda_jax.configs import defaults


def get_config(method: str = "dreamda") -> ConfigDict:
    """Oxford-IIIT Pet: expansion 30."""
    return defaults.get_tfds_config("oxford_iiit_pet", method, split="train", num_variants=30)
