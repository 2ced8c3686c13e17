"""`--config configs/shenzhen_tb.py` in a clone: the configuration of that name in the package."""

from dreamda_jax.configs.shenzhen_tb import *  # noqa: F403
