"""Where labelled images come from: the face of this folder for everything outside of it."""

from dreamda_jax.data.sources.open import (
    open_held_out,
    open_source,
    option_defaults,
    overridden,
    refuse_output_inside,
)
from dreamda_jax.data.sources.source import Example, Source, Spread, checked_index

__all__ = [
    "Example",
    "Source",
    "Spread",
    "checked_index",
    "open_held_out",
    "open_source",
    "option_defaults",
    "overridden",
    "refuse_output_inside",
]
