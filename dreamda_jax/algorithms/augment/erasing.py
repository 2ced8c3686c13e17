"""Random erasing (Zhong et al. 2017). Layout and value range: see the package."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dreamda_jax.algorithms.augment.boxes import NUM_UNIFORMS, inside, random_box
from dreamda_jax.algorithms.augment.checks import check_keys, check_views
from dreamda_jax.types import AnyArray


def random_erasing(
    keys: Key[Array, "b"],
    images: Float[AnyArray, "b h w 3"],
    *,
    probability: float = 0.25,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
) -> Float[Array, "b h w 3"]:
    """Sets a box to 0, which in normalised images is the mean colour.

    Args:
      keys: one per row.
      images: float [b, h, w, 3], normalised.
      probability: of erasing anything, per image.
      scale: bounds of the box's area as a share of the image's.
      ratio: bounds of its height / width.

    Returns:
      The images, boxes drawn as by torchvision's `RandomErasing`: smaller than the image on both
      sides; an image for which ten draws give none stays as it is.
    """
    check_keys(keys, images)
    check_views(images)
    height, width = images.shape[1:3]

    def erase(key: Array, image: Array) -> Array:
        uniforms = jax.random.uniform(key, (1 + NUM_UNIFORMS,))
        box = random_box(
            uniforms[1:],
            (height, width),
            scale=scale,
            ratio=(1 / ratio[1], 1 / ratio[0]),
            largest=(height - 1, width - 1),
            fallback=(0, 0),
        )
        erased = jnp.logical_and(inside(box, height, width), uniforms[0] < probability)
        return jnp.where(erased[..., None], 0, image)

    return jax.vmap(erase)(keys, jnp.asarray(images))
