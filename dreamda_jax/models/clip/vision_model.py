"""CLIP's image encoder, and CLIP as a whole.

The vision transformer of Dosovitskiy et al. 2020 (https://arxiv.org/abs/2010.11929) with a norm
before its first block. Numbers are those of PyTorch transformers' `CLIPModel`; names of classes and
parameters those of its Flax classes, see `transformer`.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.models.clip.config import ClipConfig, ClipVisionConfig
from dreamda_jax.models.clip.text_model import FlaxCLIPTextTransformer
from dreamda_jax.models.clip.transformer import FlaxCLIPEncoder, Hidden, layer_norm
from dreamda_jax.types import TokenIds

Pixels = Float[Array, "b h w 3"]

_LOG_SCALE = 2.6592  # log(1 / 0.07), what CLIP's training starts from


class FlaxCLIPVisionEmbeddings(nn.Module):
    """A vector for the whole, one for each patch, and one for each place, added."""

    config: ClipVisionConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pixels: Pixels) -> Hidden:
        """Embed [b, h, w, 3] as [b, 1 + patches, d], patches row by row.

        Raises:
            ValueError: images of another size than `image_size`.
        """
        config, width = self.config, self.config.hidden_size
        size = (config.image_size, config.image_size)
        if pixels.shape[1:3] != size:
            raise ValueError(f"images of {pixels.shape[1:3]} pixels, but the encoder takes {size}")
        whole = self.param("class_embedding", nn.initializers.normal(0.02), (width,))
        sides = (config.patch_size, config.patch_size)
        patches = nn.Conv(
            width,
            sides,
            strides=sides,
            padding="VALID",
            use_bias=False,
            dtype=self.dtype,
            name="patch_embedding",
        )(pixels)
        patches = patches.reshape(len(pixels), -1, width)
        whole = jnp.broadcast_to(whole.astype(self.dtype), (len(pixels), 1, width))
        tokens = jnp.concatenate([whole, patches], axis=1)
        # Of as many places as there are patches even where no image was seen yet: whole squares.
        count = (config.image_size // config.patch_size) ** 2 + 1
        places = nn.Embed(count, width, dtype=self.dtype, name="position_embedding")
        return tokens + places(jnp.arange(count))


class FlaxCLIPVisionTransformer(nn.Module):
    """Embeddings, first norm, transformer, and the norm of what stands for the whole image."""

    config: ClipVisionConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pixels: Pixels) -> Float[Array, "b d"]:
        """Encode images [b, h, w, 3], preprocessed, as their pooled features [b, d]."""
        config, dtype = self.config, self.dtype
        embedded = FlaxCLIPVisionEmbeddings(config, dtype, name="embeddings")(pixels)
        # Checkpoints spell it like this.
        normed = layer_norm(config, dtype, "pre_layrnorm")(embedded)
        states = FlaxCLIPEncoder(config, causal=False, dtype=dtype, name="encoder")(normed)
        return layer_norm(config, dtype, "post_layernorm")(states[-1][:, 0])


class FlaxCLIPModule(nn.Module):
    """Both encoders, each with its projection into one space, and the scale of similarities.

    Attributes:
        config: see the class.
        dtype: of the computation; float32, bfloat16 or float16.
    """

    config: ClipConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Name what checkpoints hold."""
        self.text_model = FlaxCLIPTextTransformer(self.config.text_config, self.dtype)
        self.vision_model = FlaxCLIPVisionTransformer(self.config.vision_config, self.dtype)
        width = self.config.projection_dim
        self.text_projection = nn.Dense(width, use_bias=False, dtype=self.dtype)
        self.visual_projection = nn.Dense(width, use_bias=False, dtype=self.dtype)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(_LOG_SCALE), ())

    def __call__(self, token_ids: TokenIds, pixels: Pixels) -> Float[Array, "n b"]:
        """Similarities of texts int [n, l] and images [b, h, w, 3], the logits of a softmax."""
        similarities = self.embed_texts(token_ids) @ self.embed_images(pixels).T
        return similarities * jnp.exp(self.logit_scale)

    def embed_texts(self, token_ids: TokenIds) -> Float[Array, "n p"]:
        """Embed token ids int [n, l] as [n, p], each of length 1."""
        return _unit_length(self.text_projection(self.text_model(token_ids).pooled))

    def embed_images(self, pixels: Pixels) -> Float[Array, "b p"]:
        """Embed images [b, h, w, 3], preprocessed, as [b, p], each of length 1."""
        return _unit_length(self.visual_projection(self.vision_model(pixels)))


def _unit_length(embeddings: Float[Array, "n p"]) -> Float[Array, "n p"]:
    return embeddings / jnp.linalg.norm(embeddings, axis=-1, keepdims=True)
