"""`--config configs/caltech101.py` in a clone: the configuration of that name in the package."""

from dreamda_jax.configs.caltech101 import *  # noqa: F403
