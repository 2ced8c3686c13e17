"""Settings that JAX takes from the environment and that would change what is computed.

Random numbers are to depend on the seed alone. Which generator makes keys, how it lays its numbers
out, what is added to every seed and how wide a number is by default are therefore fixed here, for
every command; `algorithms.random_key` names the generator besides, where keys are made. The rest of
JAX's settings (devices, caches, debugging, the precision of products) stays the user's.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import jax

from dreamda_jax.algorithms import random_key

_FIXED: dict[str, Any] = {
    "jax_default_prng_impl": random_key.NAME,
    "jax_threefry_partitionable": True,  # JAX's default since 0.5
    "jax_random_seed_offset": 0,
    "jax_enable_x64": False,
    # These two stop programs that are right with an error in the middle of JAX.
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
}


def fix() -> None:
    """Gives JAX the values that every command here is written for, and says which it had not."""
    for name, value in _FIXED.items():
        given = getattr(jax.config, name)
        if given != value:
            print(
                f"note        {name.upper()}={given} is not followed: results do not depend on it "
                f"here ({value} is used)",
                file=sys.stderr,
            )
            jax.config.update(name, value)


@contextlib.contextmanager
def fixed_layout() -> Iterator[None]:
    """The same for a call from somebody else's program, whose settings are left as they are.

    The layout is read as a program is compiled, so compiling has to happen inside.
    """
    with jax.threefry_partitionable(True):
        yield
