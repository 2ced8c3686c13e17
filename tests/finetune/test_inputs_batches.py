"""Batches for fine-tuning: one order whatever the start and the hosts, mirror images, prompts."""

import collections

import numpy as np
import pytest

from dreamda_jax.finetune.inputs import Latents, finetuning_batches

IMAGES, BATCH = 7, 4
PROMPTS = [[1], [2, 3], [0, 4, 5], [1], [6], [2], [3]]
TEXT = np.random.default_rng(0).standard_normal((7, 3, 5), np.float32)


def make_latents(count=IMAGES, *, mirrored=True):
    """The mean tells the image, its sign whether it is mirrored; the deviation is 100 more."""
    image = np.arange(1, count + 1, dtype=np.float32)[:, None, None, None, None]
    moments = np.array([0, 100], np.float32)[:, None, None, None]
    upright = np.broadcast_to(image + moments, (count, 2, 4, 2, 2))
    turned = np.broadcast_to(moments - image, upright.shape) if mirrored else None
    return Latents(upright, turned, np.arange(count, dtype=np.int64), digest="")


def batches(latents=None, prompts=PROMPTS, **options):
    options = {
        "batch_size": BATCH,
        "seed": 3,
        "sample_posterior": True,
        "start_step": 0,
        "num_steps": 20,
        **options,
    }
    return list(finetuning_batches(latents or make_latents(), prompts, TEXT, **options))


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for field in a._fields:
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
            assert getattr(a, field).dtype == getattr(b, field).dtype


def images(made):
    """(place of each row's image, whether it is mirrored), in the order of the stream."""
    values = np.concatenate([batch.mean[:, 0, 0, 0] for batch in made])
    return np.abs(values).astype(int) - 1, values < 0


def test_batches_have_the_promised_arrays():
    for batch in batches():
        assert batch.mean.shape == batch.std.shape == (BATCH, 4, 2, 2)
        assert batch.text.shape == (BATCH, 3, 5)
        assert batch.mean.dtype == batch.std.dtype == batch.text.dtype == np.float32
        np.testing.assert_array_equal(batch.rows, np.arange(BATCH))
        assert batch.rows.dtype == np.int32
        # Mean and deviation are of one image, all channels and cells of it.
        np.testing.assert_array_equal(batch.std, batch.mean + 100)
        np.testing.assert_array_equal(batch.mean, batch.mean[:, :1, :1, :1] + np.zeros((4, 2, 2)))


@pytest.mark.parametrize("start", [1, 7, 19, 20])
def test_a_start_in_the_middle_goes_on_with_the_same_batches(start):
    assert_same(batches(start_step=start), batches()[start:])


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_have_the_rows_of_one_host(hosts):
    whole = batches()
    parts = [batches(host_index=host, host_count=hosts) for host in range(hosts)]
    joined = [
        type(of_hosts[0])(*(np.concatenate(field) for field in zip(*of_hosts, strict=True)))
        for of_hosts in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)


def test_a_batch_that_does_not_divide_among_hosts_is_refused():
    with pytest.raises(ValueError, match="a batch of 4 does not divide by 3 hosts"):
        batches(host_index=0, host_count=3)


@pytest.mark.parametrize("batch_size", [4, 7, 10])
def test_every_image_is_seen_once_an_epoch(batch_size):
    places, _ = images(batches(batch_size=batch_size, num_steps=7 * 6))
    epochs = places.reshape(-1, IMAGES)
    assert len(epochs) == batch_size * 6
    assert (np.sort(epochs, axis=1) == np.arange(IMAGES)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 1  # not in one order


def test_another_seed_is_another_order_and_other_coins():
    places, turned = images(batches(num_steps=70))
    other_places, other_turned = images(batches(num_steps=70, seed=4))
    assert (places != other_places).any()
    assert (turned != other_turned).any()


def test_about_half_of_each_image_s_rows_are_mirrored():
    places, turned = images(batches(num_steps=1750))
    for place in range(IMAGES):
        own = turned[places == place]
        assert len(own) == 1000
        # Within five standard errors.
        assert abs(own.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(own))
    # A coin of each row's own: rows that are neighbours, or in one place of the batch, differ.
    for lag in (1, BATCH):
        agree = (turned[lag:] == turned[:-lag]).mean()
        assert abs(agree - 0.5) < 5 * 0.5 / np.sqrt(len(turned))


def test_nothing_is_mirrored_where_there_are_no_mirror_images():
    places, turned = images(batches(make_latents(mirrored=False), num_steps=70))
    assert not turned.any()
    # The same images in the same order as with them.
    np.testing.assert_array_equal(places, images(batches(num_steps=70))[0])


def test_prompts_are_taken_in_turn_by_epochs():
    made = batches(num_steps=7 * 6)
    places, _ = images(made)
    text = np.concatenate([batch.text for batch in made])
    seen = collections.Counter()
    for place, row in zip(places, text, strict=True):
        own = PROMPTS[place]
        np.testing.assert_array_equal(row, TEXT[own[seen[place] % len(own)]])
        seen[place] += 1
    assert set(seen.values()) == {BATCH * 6}


def test_token_ids_stay_integers():
    ids = np.arange(7 * 16, dtype=np.int32).reshape(7, 16)
    options = {"batch_size": 4, "seed": 3, "sample_posterior": True}
    (batch,) = finetuning_batches(
        make_latents(), PROMPTS, ids, start_step=0, num_steps=1, **options
    )
    assert batch.text.dtype == np.int32
    (floats,) = batches(num_steps=1)
    for row, other in zip(batch.text, floats.text, strict=True):
        np.testing.assert_array_equal(TEXT[row[0] // 16], other)


def test_deviations_are_nought_where_the_mean_is_to_be_taken():
    means = batches(sample_posterior=False)
    for batch, drawn in zip(means, batches(), strict=True):
        np.testing.assert_array_equal(batch.mean, drawn.mean)
        np.testing.assert_array_equal(batch.text, drawn.text)
        assert not batch.std.any()
        assert batch.std.shape == batch.mean.shape
        assert batch.std.dtype == np.float32


def test_a_batch_may_be_larger_than_the_set():
    (batch,) = batches(batch_size=16, num_steps=1)
    places, _ = images([batch])
    assert sorted(collections.Counter(places.tolist()).values()) == [2] * 5 + [3] * 2


def test_latents_on_the_disk_are_read_row_by_row(tmp_path):
    latents = make_latents()
    stored = []
    for name in ("upright", "mirrored"):
        np.save(tmp_path / f"{name}.npy", getattr(latents, name))
        stored.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    made = batches(Latents(*stored, latents.places, latents.digest))
    assert_same(made, batches())
    assert not isinstance(made[0].mean, np.memmap)
