"""Which generator every random number comes from, whatever JAX would take by default.

JAX's default is a setting of its environment (JAX_DEFAULT_PRNG_IMPL), and with another generator
the same seed is another set of images. So keys are made here, and keys that travel as raw numbers
are read as this generator's.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt

from dreamda_jax.types import AnyArray

NAME = "threefry2x32"
"""As `impl=` of `jax.random.key`; its keys are two words of uint32."""


def key(seed: int) -> jax.Array:
    """The root of a job's random numbers: a typed key, []."""
    return jax.random.key(seed, impl=NAME)


def raw_key(seed: int) -> UInt[AnyArray, "2"]:
    """The same as raw numbers, which records can store."""
    return jax.random.key_data(key(seed))


def raw_data(key: jax.Array) -> UInt[AnyArray, "2"]:
    """The raw numbers of a key that somebody else made.

    Args:
      key: a typed key [], or raw numbers uint32 [2].

    Raises:
      ValueError: it is another generator's, or no key at all.
    """
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        name = str(jax.random.key_impl(key))
        data = jax.random.key_data(key)
    else:
        name, data = NAME, key
    if name != NAME or data.shape != (2,) or data.dtype != jnp.uint32:
        raise ValueError(
            f"a key of {NAME} is needed, such as jax.random.key(0, impl={NAME!r}); this one is "
            f"{name}'s, {data.dtype} {list(data.shape)}"
        )
    return data


def fold_in(raw: UInt[AnyArray, "2"], number: AnyArray | int) -> UInt[Array, "2"]:
    """`jax.random.fold_in` of raw numbers."""
    return jax.random.key_data(jax.random.fold_in(typed(raw), number))


def typed(raw: UInt[AnyArray, "2"]) -> jax.Array:
    """The typed key [] of raw numbers."""
    return jax.random.wrap_key_data(jnp.asarray(raw), impl=NAME)
