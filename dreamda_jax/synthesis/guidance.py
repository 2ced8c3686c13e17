"""Classifier-free guidance (Ho & Salimans 2022): the rows it takes, and what is made of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dreamda_jax.algorithms.diffusion import steps
from dreamda_jax.types import AnyArray, Context, Latent


class Guidance(NamedTuple):
    """Guidance away from the empty prompt.

    Attributes:
      scale: g; the number 1 switches it off and halves the rows. An array [r, 1, 1, 1] guides each
        row by its own.
      empty_context: embedding of the empty prompt, [l, d].
    """

    scale: float | jax.Array
    empty_context: AnyArray

    @property
    def copies(self) -> int:
        """Rows of the network per row of latents: 2, or 1 without guidance."""
        return 1 if isinstance(self.scale, int | float) and self.scale == 1 else 2

    def latents(self, latents: Latent) -> Latent:
        """The network's rows for these: the unconditional ones come first."""
        return jnp.concatenate([latents] * self.copies)

    def contexts(self, target: Context) -> Context:
        """[empty; target] for guidance, the target rows alone without."""
        if self.copies == 1:
            return target
        empty = jnp.broadcast_to(self.empty_context, target.shape)
        return jnp.concatenate([empty, target])

    def combine(self, output: Latent) -> Latent:
        """One guided row of every pair."""
        if self.copies == 1:
            return output
        empty, conditional = jnp.split(output, 2)
        return steps.guide(empty, conditional, self.scale)
