"""Sums of a kernel over all pairs of images, in blocks: what MMD, CMMD and KID are made of.

Kernels are computed in float32, on the default device, and given less a constant: an estimate of
MMD² is a sum of means of which the signs add up to none, so a constant is of no influence, but sums
of numbers near it would lose digits. Sums over blocks are float64.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dreamda_jax.algorithms.metrics.feature_blocks import FeatureSet, padded, read_rows, row_blocks
from dreamda_jax.algorithms.metrics.intervals import standard_error_of_mean
from dreamda_jax.algorithms.metrics.neighbours import squared_distances

Kernel = Callable[[Float[Array, "b d"], Float[Array, "c d"], Float[Array, ""]], Float[Array, "b c"]]
"""`kernel(x, y, parameter)`: of all pairs of rows, less a constant. It can be traced."""


class KernelMeans(NamedTuple):
    """Means over the other images, of each of n real and m synthetic ones; float64."""

    real_real: Float[np.ndarray, "n"]
    """Over the n − 1 other real images."""
    real_synthetic: Float[np.ndarray, "n"]
    synthetic_real: Float[np.ndarray, "m"]
    synthetic_synthetic: Float[np.ndarray, "m"]


def gaussian_kernel(
    x: Float[Array, "b d"], y: Float[Array, "c d"], sigma: Float[Array, ""]
) -> Float[Array, "b c"]:
    """exp(−|x − y|² / (2σ²)) − 1: 0 for equal rows."""
    return jnp.expm1(-squared_distances(x, y) / (2 * sigma**2))


def polynomial_kernel(
    x: Float[Array, "b d"], y: Float[Array, "c d"], width: Float[Array, ""]
) -> Float[Array, "b c"]:
    """(x·y / width + 1)³ − 1; with width = d KID's kernel."""
    products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST) / width
    return products * (3 + products * (3 + products))


def kernel_means(
    kernel: Kernel, parameter: float, real: FeatureSet, synthetic: FeatureSet, *, block_rows: int
) -> KernelMeans:
    """Mean of the kernel of each image with those of its own and of the other set.

    Args:
      kernel: compiled once for each `block_rows`.
      parameter: its third argument.
      real: of 2 or more images.
      synthetic: likewise.
      block_rows: of either set; their pairs take block_rows² float32.

    Raises:
      ValueError: a number that is not finite, or a kernel that leaves float32.
    """
    n, m = len(real.array), len(synthetic.array)
    add = partial(_add_up, kernel, parameter, block_rows=min(block_rows, max(n, m)))
    own_real, _ = add(real, real, same=True)
    own_synthetic, _ = add(synthetic, synthetic, same=True)
    across, back = add(real, synthetic, same=False)
    means = KernelMeans(own_real / (n - 1), across / m, back / n, own_synthetic / (m - 1))
    if not all(np.isfinite(mean).all() for mean in means):
        raise ValueError("the features are too large: their kernel leaves float32")
    return means


def unbiased_mmd_squared(means: KernelMeans) -> float:
    """Gretton et al. 2012, eq. 3: 0 on average for equal distributions, so negative at times."""
    return float(np.mean(witness_real(means)) + np.mean(witness_synthetic(means)))


def witness_real(means: KernelMeans) -> Float[np.ndarray, "n"]:
    """How much more alike each real image is to real than to synthetic ones."""
    return means.real_real - means.real_synthetic


def witness_synthetic(means: KernelMeans) -> Float[np.ndarray, "m"]:
    """How much more alike each synthetic image is to synthetic than to real ones."""
    return means.synthetic_synthetic - means.synthetic_real


def mmd_squared_error(
    means: KernelMeans, *, synthetic_clusters: Int[np.ndarray, "m"] | None = None
) -> float:
    """Standard error of MMD², biased or not, to first order (Hájek's projection).

    MMD² is a sum of the means of two sets of numbers, the witness at every image, each of which
    changes twice as much with its image as its own number does. For equal distributions, where
    nothing is of first order, it comes out 1.4 times too large.
    """
    of_real = standard_error_of_mean(witness_real(means))
    of_synthetic = standard_error_of_mean(witness_synthetic(means), synthetic_clusters)
    return 2 * float(np.hypot(of_real, of_synthetic))


def _add_up(
    kernel: Kernel,
    parameter: float,
    x: FeatureSet,
    y: FeatureSet,
    *,
    same: bool,
    block_rows: int,
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "m"]]:
    """Sums over y of each row of x, and the reverse; of one set (`same`) without equal places."""
    of_x, of_y = np.zeros(len(x.array)), np.zeros(len(y.array))
    for rows in row_blocks(len(x.array), block_rows):
        here = padded(read_rows(x, rows), block_rows)
        for columns in row_blocks(len(y.array), block_rows):
            if same and columns.start < rows.start:
                continue  # the kernel is symmetric, and this block was already added
            there = padded(read_rows(y, columns), block_rows)
            diagonal = same and columns == rows
            filled = rows.stop - rows.start, columns.stop - columns.start
            by_row, by_column = _block_sums(kernel, parameter, here, there, filled, diagonal)
            of_x[rows] += np.asarray(by_row, np.float64)[: filled[0]]
            if not diagonal:
                target = of_x if same else of_y
                target[columns] += np.asarray(by_column, np.float64)[: filled[1]]
    return of_x, of_y


@partial(jax.jit, static_argnums=0)
def _block_sums(
    kernel: Kernel,
    parameter: Float[Array, ""],
    x: Float[Array, "b d"],
    y: Float[Array, "c d"],
    filled: tuple[Int[Array, ""], Int[Array, ""]],
    diagonal: Array,
) -> tuple[Float[Array, "b"], Float[Array, "c"]]:
    rows, columns = jnp.arange(len(x))[:, None], jnp.arange(len(y))
    hidden = (rows >= filled[0]) | (columns >= filled[1]) | (diagonal & (rows == columns))
    values = jnp.where(hidden, 0, kernel(x, y, parameter))
    return values.sum(axis=1), values.sum(axis=0)
