"""`--config configs/pets.py` in a clone: the configuration of that name in the package."""

from dreamda_jax.configs.pets import *  # noqa: F403
