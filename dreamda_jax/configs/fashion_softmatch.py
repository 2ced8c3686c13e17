"""SoftMatch on the embedded sample: 40 labelled images, 2,000 unlabelled, on a laptop CPU.

    python -m dreamda_jax.train --config configs/fashion_softmatch.py
    python -m dreamda_jax.train --config configs/fashion_softmatch.py \
        --config.consistency.weighting=fixed --config.train.output=runs/fashion_fixmatch
    python -m dreamda_jax.train --config configs/fashion_softmatch.py \
        --config.unlabelled.kind=folder --config.unlabelled.path=my_images

STL-10's protocol in small: `num_labels` images are drawn by the run's seed, as many of each class,
and the unlabelled set is the sample's own, or any folder of images. The network, the optimizer and
the number of steps are those of configs/fashion.py; each step has 16 labelled and 7 x 16 unlabelled
images, these in two views. docs/results.md has the measured figures.
"""

from ml_collections import ConfigDict

from dreamda_jax.configs import fashion


def get_config(method: str = "dreamda") -> ConfigDict:
    """40 labels, ratio 7, an average of the weights."""
    config = fashion.get_config(method)
    config.softmatch.num_labels = 40
    config.unlabelled.update({"kind": "sample", "split": "unlabeled"})
    config.train.update(
        {
            "method": "softmatch",
            "output": "runs/fashion_softmatch",
            "batch_size": 16,
            "learning_rate": 0.03,
            "schedule": "cosine_7_16",
            "ema_decay": 0.99,  # 0.999 averages over a thousand steps, and there are 600
        }
    )
    config.consistency.update({"decay": 0.99, "hard": True, "loss_weight": 1.0})
    return config
