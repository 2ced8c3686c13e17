"""The random keys of a self-training's parts: none is another's, nor a child of another's."""

from typing import Literal

import jax

_PLACES = {"heads": 0, "stage 1": 1, "stage 2": 2, "stage 3": 3}


def stage_key(
    seed: int, what: Literal["heads", "stage 1", "stage 2", "stage 3"], round_number: int = 0
) -> jax.Array:
    """`fold_in(fold_in(key(seed), place of what), round_number)`.

    Two folds, as a child that `split` makes equals one that `fold_in` makes: a stage whose key were
    another stage's first step's would repeat its draws.

    Args:
      seed: of the run.
      what: draws from it.
      round_number: from 1 where the part is repeated in every round.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _PLACES[what]), round_number)
