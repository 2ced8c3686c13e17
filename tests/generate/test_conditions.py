"""What variants are made under: learned embeddings of one class, moved towards one another."""

import warnings

import jax
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.data.loader import Seed
from dreamda_jax.generate.conditions import LearnedEmbeddings

LABELS = np.array([0, 1, 0, 2, 0, 1, 0, 0])  # class 2 has one image
BROKEN = 4
KEYS = np.asarray(keys_lib.seed_keys(jax.random.key_data(jax.random.key(0)), np.arange(8)))


def make_embeddings():
    made = np.random.default_rng(0).normal(size=(8, 3, 4)).astype(np.float32)
    made[BROKEN] = np.nan
    return made


def open_conditions(*, interpolation=0.25, num_variants=3, keys=KEYS, embeddings=None):
    embeddings = make_embeddings() if embeddings is None else embeddings
    return LearnedEmbeddings(
        *(embeddings, LABELS, keys), interpolation=interpolation, num_variants=num_variants
    )


def seed_of(index):
    return Seed(index, f"{index}.png", int(LABELS[index]), None, None, None, False)


def neighbours(conditions, index, count):
    return [int(conditions.text(seed_of(index), v).split()[-1]) for v in range(count)]


def test_the_context_is_the_own_embedding_moved_towards_the_neighbour():
    embeddings, conditions = make_embeddings(), open_conditions()
    conditions.request([seed_of(0)])
    found = conditions.get([seed_of(0), seed_of(5)])
    assert set(found.of_seeds) == {0, 5}
    for index in (0, 5):
        assert found.of_seeds[index].shape == (3, 3, 4)
        assert found.of_seeds[index].dtype == np.float32
        for variant, neighbour in enumerate(neighbours(conditions, index, 3)):
            np.testing.assert_allclose(
                found.of_seeds[index][variant],
                0.75 * embeddings[index] + 0.25 * embeddings[neighbour],
                rtol=1e-5,
                atol=1e-6,
            )


def test_guidance_leads_away_from_the_mean_of_all_that_were_learnt():
    embeddings, found = make_embeddings(), open_conditions().get([])
    rest = np.delete(embeddings, BROKEN, axis=0)
    np.testing.assert_allclose(found.empty, sum(np.float64(row) for row in rest) / 7, atol=1e-6)
    assert found.empty.dtype == np.float32
    np.testing.assert_array_equal(found.source, found.empty)


@pytest.mark.parametrize("index", [0, 2, 6, 7])
def test_neighbours_are_others_of_the_class_and_all_different_while_there_are_enough(index):
    usable = {0, 2, 6, 7} - {index}  # of class 0, without the broken one
    assert set(neighbours(open_conditions(), index, 3)) == usable
    assert len(set(neighbours(open_conditions(num_variants=2), index, 2))) == 2
    many = neighbours(open_conditions(num_variants=8), index, 8)
    assert sorted(many.count(other) for other in usable) == [2, 3, 3]


def test_a_seed_keeps_its_first_neighbours_when_more_variants_are_asked_for():
    few = neighbours(open_conditions(num_variants=2), 7, 2)
    assert neighbours(open_conditions(num_variants=5), 7, 5)[:2] == few


def test_an_image_alone_in_its_class_stays_where_it_is():
    conditions = open_conditions()
    assert neighbours(conditions, 3, 3) == [3, 3, 3]
    found = conditions.get([seed_of(3)]).of_seeds[3]
    np.testing.assert_array_equal(found, np.broadcast_to(make_embeddings()[3], (3, 3, 4)))


def test_who_is_whose_neighbour_depends_on_the_seeds_key_alone():
    again, other_root = open_conditions(), KEYS[::-1].copy()
    first = [neighbours(open_conditions(), index, 3) for index in range(8) if index != BROKEN]
    assert [neighbours(again, index, 3) for index in range(8) if index != BROKEN] == first
    other = open_conditions(keys=other_root)
    assert [neighbours(other, index, 3) for index in range(8) if index != BROKEN] != first
    # Two seeds of one class of many images go through it in orders of their own.
    many = LearnedEmbeddings(
        np.zeros((40, 1, 1), np.float32),
        np.zeros(40, int),
        np.asarray(keys_lib.seed_keys(jax.random.key_data(jax.random.key(1)), np.arange(40))),
        interpolation=0.1,
        num_variants=10,
    )
    orders = {
        tuple(
            int(many.text(Seed(index, "", 0, None, None, None, False), v).split()[-1])
            for v in range(10)
        )
        for index in range(40)
    }
    assert len(orders) == 40


def test_a_record_says_of_which_images_a_variant_was_made():
    conditions = open_conditions(interpolation=0.1)
    (other,) = set(neighbours(conditions, 1, 3))
    assert other == 5  # the only other of its class
    text = conditions.text(seed_of(1), 2)
    assert text == "learnt of image 1, 0.1 towards image 5"


def test_a_set_of_which_nothing_could_be_learnt():
    """All images were broken: nobody asks for contexts, and there is nothing to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conditions = open_conditions(embeddings=np.full((8, 3, 4), np.nan, np.float32))
        assert conditions.get([]).of_seeds == {}
