"""CLIP score: how well images fit their prompts (Hessel et al. 2021, arXiv 2104.08718)."""

import numpy as np
from jaxtyping import Float, Int

from dreamda_jax.algorithms.metrics.feature_blocks import (
    BLOCK_ROWS,
    FeatureSet,
    check_unit_length,
    read_rows,
    row_blocks,
)
from dreamda_jax.types import AnyArray


def clip_scores(
    images: Float[AnyArray, "n d"],
    prompts: Float[AnyArray, "p d"],
    prompt_of: Int[np.ndarray, "n"],
    *,
    block_rows: int = BLOCK_ROWS,
) -> Float[np.ndarray, "n"]:
    """100 · max(cos, 0) of each image and its prompt; the CLIP score is the mean.

    The scale is torchmetrics' `CLIPScore` (the paper's is 2.5). torchmetrics cuts the mean at 0,
    the paper each image: they differ only where an image's cosine is negative.

    Args:
      images: CLIP embeddings of length 1.
      prompts: likewise.
      prompt_of: which prompt is the image's, in [0, p).
      block_rows: images read at a time.

    Returns:
      float64 in [0, 100]; rounding may exceed it by 1e-4.

    Raises:
      ValueError: no images or prompts, different widths, an embedding whose length is not 1, or a
        prompt that is not there.
    """
    image_set, prompt_set = FeatureSet(images, "image"), FeatureSet(prompts, "prompt")
    if images.ndim != 2 or prompts.ndim != 2 or images.shape[1] != prompts.shape[1]:
        raise ValueError(
            f"image and prompt embeddings must be matrices of one width, got {images.shape} and "
            f"{prompts.shape}"
        )
    if not len(images) or not len(prompts):
        raise ValueError(f"no CLIP score of {len(images)} images and {len(prompts)} prompts")
    if prompt_of.shape != (len(images),):
        raise ValueError(f"{len(images)} images, but prompt_of is {prompt_of.shape}")
    if prompt_of.min() < 0 or prompt_of.max() >= len(prompts):
        raise ValueError(
            f"prompt_of must be in [0, {len(prompts)}), got {prompt_of.min()} to {prompt_of.max()}"
        )
    for each in (image_set, prompt_set):
        check_unit_length(each, block_rows=block_rows)
    scores = np.empty(len(images))
    for rows in row_blocks(len(images), block_rows):
        texts = read_rows(prompt_set, prompt_of[rows]).astype(np.float64)
        cosines = np.einsum("nd,nd->n", read_rows(image_set, rows), texts)
        scores[rows] = 100 * np.maximum(cosines, 0)
    return scores
