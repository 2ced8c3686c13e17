"""A seed's place and company are its own, whatever else is made."""

from dreamda_jax.data.loader import Seed
from dreamda_jax.generate.batches import make_batches


def seed(index, broken=()):
    return Seed(index, "", 0, None, None, "truncated" if index in broken else None, False)


def groups(indices, devices, broken=(), per_device=2, per_shard=5):
    """{seed: (its slot in the device's group, the group's seeds)}"""
    places = {}
    seeds = (seed(index, broken) for index in indices)
    for batch in make_batches(
        seeds, seeds_per_device=per_device, seeds_per_shard=per_shard, devices=devices
    ):
        assert len(batch.slots) <= devices * per_device
        assert len(batch.slots) % per_device == 0
        ids = [slot and slot.index for slot in batch.slots]
        for start in range(0, len(ids), per_device):
            group = ids[start : start + per_device]
            places |= {index: (group.index(index), group) for index in group if index is not None}
        assert [s.index for s in batch.usable] == [index for index in ids if index is not None]
    return places


def test_groups_do_not_depend_on_devices_or_on_what_is_left_to_do():
    broken = (3, 10)
    whole = groups(range(17), devices=1, broken=broken)
    assert sorted(whole) == [index for index in range(17) if index not in broken]
    assert groups(range(17), devices=8, broken=broken) == whole
    assert groups(range(17), devices=3, broken=broken) == whole
    left = groups([*range(5, 10), 15, 16], devices=3, broken=broken)  # shards 1 and 3
    assert left == {index: whole[index] for index in left}
    assert whole[2] == (0, [2, None])  # 3 is broken
    assert whole[4] == (0, [4, None])  # 5 is of the next shard
    assert whole[15] == (0, [15, 16])


def test_every_seed_is_in_one_batch():
    batches = list(
        make_batches(map(seed, range(13)), seeds_per_device=3, seeds_per_shard=6, devices=2)
    )
    assert [s.index for batch in batches for s in batch.seeds] == list(range(13))
    assert [len(batch.slots) for batch in batches] == [6, 6, 3]
