"""`--config configs/fashion.py` in a clone: the configuration of that name in the package."""

from dreamda_jax.configs.fashion import *  # noqa: F403
