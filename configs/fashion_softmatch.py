"""`--config configs/fashion_softmatch.py` in a clone: it is in the package."""

from dreamda_jax.configs.fashion_softmatch import *  # noqa: F403
