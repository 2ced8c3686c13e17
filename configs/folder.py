"""`--config configs/folder.py` in a clone: the configuration of that name in the package."""

from dreamda_jax.configs.folder import *  # noqa: F403
