"""`--config configs/cars.py` in a clone: the configuration of that name in the package."""

from dreamda_jax.configs.cars import *  # noqa: F403
