"""The parts of a self-training draw from keys of which none is another's descendant."""

import itertools

import jax
import numpy as np

from dreamda_jax.train.amst_programs import stage_key


def test_no_key_is_another_part_s_nor_that_of_its_first_steps():
    roots = [stage_key(3, "heads"), stage_key(3, "stage 1")]
    roots += [stage_key(3, stage, place) for stage in ("stage 2", "stage 3") for place in (1, 2)]
    seen = list(roots)
    for root in roots:
        children = [jax.random.fold_in(root, step) for step in range(4)]
        seen += [*children, *itertools.chain(*(jax.random.split(child, 3) for child in children))]
    data = {tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in seen}
    assert len(data) == len(seen)


def test_a_seed_gives_the_same_keys_again_and_another_seed_others():
    first, again, other = (stage_key(seed, "stage 3", 1) for seed in (0, 0, 1))
    assert (jax.random.key_data(first) == jax.random.key_data(again)).all()
    assert (jax.random.key_data(first) != jax.random.key_data(other)).any()
