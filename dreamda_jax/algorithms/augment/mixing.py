"""CutMix and mixup: two images of a batch become one, and so do their targets.

Both are a weighted mean, image · keep + partner · (1 − keep), with `keep` between 0 and 1 for each
pixel; the share of the target is its mean. Partners are a random permutation of the batch
(torchvision takes the row before, which needs a shuffled batch). Images are float, targets float
[b, classes] with rows that sum to 1.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dreamda_jax.algorithms.augment.boxes import Box, inside
from dreamda_jax.algorithms.augment.checks import check_targets
from dreamda_jax.types import AnyArray

Images = Float[AnyArray, "b h w 3"]
Targets = Float[AnyArray, "b c"]
Mixed = tuple[Float[Array, "b h w 3"], Float[Array, "b c"]]


def cutmix(
    key: Key[Array, ""],
    images: Images,
    targets: Targets,
    *,
    alpha: float = 1.0,
    probability: float = 1.0,
) -> Mixed:
    """Pastes a box of each partner, at one place for the batch (Yun et al. 2019).

    Args:
      key: one for the batch.
      images: float [b, h, w, 3].
      targets: float [b, classes].
      alpha: the area left is Beta(alpha, alpha) before the box is clipped at the border.
      probability: of mixing the batch at all.

    Returns:
      Images and targets; a target's share is the area its image really has.
    """
    check_targets(images, targets)
    share, uniforms, partners = _draw(key, images.shape[0], alpha)
    box = _outside_box(share, uniforms[0], uniforms[1], images.shape)
    keep = jnp.where(uniforms[2] < probability, box, 1.0)
    return _mix(images, targets, partners, keep, jnp.mean(keep))


def mixup(
    key: Key[Array, ""],
    images: Images,
    targets: Targets,
    *,
    alpha: float = 0.2,
    probability: float = 1.0,
) -> Mixed:
    """Averages each image with its partner (Zhang et al. 2017).

    Args:
      key: one for the batch.
      images: float [b, h, w, 3].
      targets: float [b, classes].
      alpha: the image's weight is Beta(alpha, alpha), one draw for the batch.
      probability: of mixing the batch at all.

    Returns:
      Images and targets.
    """
    check_targets(images, targets)
    share, uniforms, partners = _draw(key, images.shape[0], alpha)
    keep = jnp.where(uniforms[2] < probability, share, 1.0)
    return _mix(images, targets, partners, keep, keep)


def cutmix_or_mixup(
    key: Key[Array, ""],
    images: Images,
    targets: Targets,
    *,
    cutmix_alpha: float,
    mixup_alpha: float,
) -> Mixed:
    """One of both for the whole batch, with equal chance. Arguments as of `cutmix` and `mixup`."""
    check_targets(images, targets)
    choice_key, key = jax.random.split(key)
    choice = jax.random.bernoulli(choice_key)
    alpha = jnp.where(choice, cutmix_alpha, mixup_alpha)
    share, uniforms, partners = _draw(key, images.shape[0], alpha)
    box = _outside_box(share, uniforms[0], uniforms[1], images.shape)
    keep = jnp.where(choice, box, share)
    return _mix(images, targets, partners, keep, jnp.where(choice, jnp.mean(box), share))


def _draw(key: Array, count: int, alpha: AnyArray | float) -> tuple[Array, Array, Array]:
    """The share of the image, three draws from [0, 1) and the partners of `count` rows."""
    share_key, uniform_key, partner_key = jax.random.split(key, 3)
    share = jax.random.beta(share_key, alpha, alpha)
    uniforms = jax.random.uniform(uniform_key, (3,))
    return share, uniforms, jax.random.permutation(partner_key, count)


def _outside_box(share: Array, row: Array, column: Array, shape: tuple[int, ...]) -> Array:
    """Float32 [h, w], 0 inside a box of 1 − `share` of the area and 1 outside it."""
    _, height, width, _ = shape
    # As torchvision: half sides are cut to whole pixels, and so is what passes the border.
    half = 0.5 * jnp.sqrt(1 - share)
    half_height, half_width = (half * height).astype(jnp.int32), (half * width).astype(jnp.int32)
    top = (row * height).astype(jnp.int32) - half_height
    left = (column * width).astype(jnp.int32) - half_width
    return 1.0 - inside(Box(top, left, 2 * half_height, 2 * half_width), height, width)


def _mix(images: Images, targets: Targets, partners: Array, keep: Array, share: Array) -> Mixed:
    pixels = keep[..., None]  # [h, w, 1] or [1]
    images, targets = jnp.asarray(images), jnp.asarray(targets)
    return (
        images * pixels + images[partners] * (1 - pixels),
        targets * share + targets[partners] * (1 - share),
    )
