"""`--config configs/stl10.py` in a clone: the configuration of that name in the package."""

from dreamda_jax.configs.stl10 import *  # noqa: F403
