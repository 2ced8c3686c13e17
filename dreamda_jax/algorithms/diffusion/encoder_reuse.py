"""Encoder features shared by neighbouring steps (Faster Diffusion, arXiv 2312.09608).

From one step to the next the features of the U-Net's encoder and mid block change little, those of
its decoder much. So the first step of every k runs the whole network, and the k − 1 after it run
only the decoder, with their own time embedding and their own perturbation, on the first one's
features. Like the perturbation this is done around the network's call, by `nn.intercept_methods`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dreamda_jax.types import AnyArray, Context, Denoise, Latent


class EncoderReuse:
    """A network for a loop over steps in groups, whose encoder runs once in a group.

    What it holds are traced values of one group: it lives as long as one loop is traced, and `scan`
    makes it forget where a group begins.

    Args:
      denoise: the network.
      encoder: names of its modules whose outputs are kept: its encoder, its mid block, and the
        convolution before them.
      every: k, the steps of a group; with 1 every step runs the whole network.
    """

    def __init__(self, denoise: Denoise, encoder: Sequence[str], *, every: int) -> None:
        self.every = every
        self._denoise, self._encoder = denoise, frozenset(encoder)
        self._features: dict[str, Any] = {}

    def __call__(self, latents: Latent, timestep: AnyArray, context: Context) -> Latent:
        """Network output; without the encoder where its features are known."""
        if self.every == 1:
            return self._denoise(latents, timestep, context)
        with nn.intercept_methods(self._intercept):
            return self._denoise(latents, timestep, context)

    def _intercept(self, next_fun: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        path = context.module.path
        if context.method_name != "__call__" or len(path) != 1 or path[0] not in self._encoder:
            return next_fun(*args, **kwargs)
        if path[0] not in self._features:
            self._features[path[0]] = next_fun(*args, **kwargs)
        return self._features[path[0]]

    def scan(self, step: Callable[[Any, Any], tuple], carry: Any, xs: Any) -> tuple:
        """`jax.lax.scan` over the steps, group by group.

        Where k does not divide the number of steps, the last group is shorter.

        Args:
          step: as `jax.lax.scan` takes it; it calls this network.
          carry: likewise.
          xs: likewise, [s, ...].
        """
        if self.every == 1:
            return jax.lax.scan(step, carry, xs)

        def group(carry: Any, rows: Any) -> tuple:
            self._features = {}
            made = []
            for i in range(len(jax.tree.leaves(rows)[0])):
                carry, out = step(carry, jax.tree.map(lambda x, i=i: x[i], rows))
                made.append(out)
            self._features = {}
            return carry, jax.tree.map(lambda *parts: jnp.stack(parts), *made)

        count = len(jax.tree.leaves(xs)[0])
        whole = count - count % self.every
        grouped = jax.tree.map(lambda x: x[:whole].reshape(-1, self.every, *x.shape[1:]), xs)
        stacked: Any
        carry, stacked = jax.lax.scan(group, carry, grouped)
        made = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), stacked)
        if whole == count:
            return carry, made
        carry, last = group(carry, jax.tree.map(lambda x: x[whole:], xs))
        return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), made, last)
