"""`--config configs/defaults.py` in a clone: the configuration of that name in the package."""

from dreamda_jax.configs.defaults import *  # noqa: F403
