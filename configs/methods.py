"""`--config configs/methods.py` in a clone: the configuration of that name in the package."""

from dreamda_jax.configs.methods import *  # noqa: F403
