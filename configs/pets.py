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
from ml_collections.config_dict import placeholder

from configs import defaults


def get_config() -> ConfigDict:
    """Oxford-IIIT Pet: expansion 30."""
    config = defaults.get_config()
    config.source = ConfigDict(
        {
            "kind": "tfds",
            "name": "oxford_iiit_pet",
            "split": "train",
            "data_dir": placeholder(str),  # default: ~/tensorflow_datasets
        }
    )
    config.synthesis.num_variants = 30
    config.output.path = "runs/pets"
    return config
