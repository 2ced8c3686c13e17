"""Your own images: one sub-folder per class, or a flat folder with metadata.jsonl or metadata.csv.

    python -m dreamda_jax.generate --config configs/folder.py --dry_run --config.source.path=IMAGES
    python -m dreamda_jax.generate --config configs/folder.py --config.source.path=IMAGES
    python -m dreamda_jax.train --config configs/folder.py --config.source.path=IMAGES \
        --config.test.path=TEST_IMAGES --config.data.train_on=mixed

Only the path has to be given. Ten variants of each image at 512 x 512 with Stable Diffusion 1.5,
168 U-Net rows each; look at runs/folder/contact_sheet.png after the first shard and set
`method.noise_scale` by it.
"""

from ml_collections import ConfigDict

from configs import defaults, methods


def get_config(method: str = "dreamda") -> ConfigDict:
    """An image folder, expansion 10."""
    config = defaults.get_config(method)
    config.source = defaults.folder_source()
    config.output.path = methods.output(method, "runs/folder")
    config.train.output = "runs/folder_classifier"
    config.finetune.output = "runs/folder_finetuned"
    return config
