"""`--config configs/stl10_softmatch.py` in a clone: it is in the package."""

from dreamda_jax.configs.stl10_softmatch import *  # noqa: F403
