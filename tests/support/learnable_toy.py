"""A toy network that an embedding can learn to please."""

import types

import jax.numpy as jnp

from tests.support.toy_network import ToyStableDiffusion

TOKENS, CHANNELS = 3, 4


class LearnableToy(ToyStableDiffusion):
    """The toy with what learning asks of a model: a posterior and the width of a context."""

    dtype = jnp.float32

    @property
    def unet(self):
        return types.SimpleNamespace(cross_attention_dim=CHANNELS)

    def encode_posterior(self, params, images):
        mean = self.encode_image(params, images)
        return mean, 0.1 + 0.2 * jnp.abs(mean)
