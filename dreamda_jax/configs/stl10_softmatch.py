"""SoftMatch by STL-10's protocol: 40 labels drawn by seed, and the unlabelled split.

    python -m dreamda_jax.train --config configs/stl10_softmatch.py --dry_run
    python -m dreamda_jax.train --config configs/stl10_softmatch.py --config.train.num_runs=3
    python -m dreamda_jax.train --config configs/stl10_softmatch.py \
        --config.consistency.weighting=fixed --config.train.output=runs/stl10_fixmatch

The numbers are those of USB (config/classic_cv/softmatch): 2^20 steps of 64 labelled and 448
unlabelled images of 96 x 96, SGD 0.03, an average of the weights (0.999), one-hot targets. The
network sees a billion views, so it wants accelerators; `--dry_run` prints the TFLOP.

Departures from USB: the network is a ResNet-18 with a 3x3 stem (USB's wrn_var_37_2 is not among the
classifiers); the unlabelled set is the split of that name alone (USB adds the 5,000 training images
without their labels); crops are padded with black (USB reflects). The data set must be prepared
once, as ArrayRecord, which needs tensorflow:

    pip install 'dreamda-jax[prepare]'
    tfds build stl10 --file_format=array_record
"""

from ml_collections import ConfigDict

from dreamda_jax.configs import defaults


def get_config(method: str = "dreamda") -> ConfigDict:
    """40 labels, ratio 7, RandAugment and erasing in the strong view."""
    config = defaults.get_tfds_config("stl10", method, split="train", num_variants=10)
    config.classifier.update({"name": "resnet18", "stem": "small", "image_size": 96, "canvas": 96})
    config.augment.crop = "shifted"
    config.strong.update(
        {"rand_augment_ops": 3, "rand_augment_magnitude": 30, "random_erasing": 1.0}
    )
    config.softmatch.num_labels = 40
    config.unlabelled.split = "unlabelled"
    config.train.update(
        {
            "method": "softmatch",
            "recipe": "softmatch",
            "output": "runs/stl10_softmatch",
            "checkpoint_every": 5000,
            "log_every": 100,
        }
    )
    return config
