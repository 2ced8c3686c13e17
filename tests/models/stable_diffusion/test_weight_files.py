"""Choosing among weight files, by names as diffusers and transformers write them."""

import fnmatch

import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion.weight_files import (
    NETWORKS,
    choose_weights,
    download_patterns,
    patterns_of_all,
)


def written(variant: str | None = None, *, shards: int = 1, stems=NETWORKS) -> set[str]:
    """What diffusers 0.42.1 with transformers 5.24 writes (`save_pretrained`), seen on a disk."""
    ending = f".{variant}" if variant else ""
    names = set()
    for network, stem in stems.items():
        start = f"{network}/{stem}"
        if shards == 1:
            names.add(f"{start}{ending}.safetensors")
            continue
        names |= {
            f"{start}{ending}-{i:05d}-of-{shards:05d}.safetensors" for i in range(1, shards + 1)
        }
        names.add(f"{start}.safetensors.index{ending}.json")
    return names


def older(names: set[str]) -> set[str]:
    """The other spelling of shards that diffusers reads: the variant behind the numbers."""
    return {
        name.replace(".fp16-00001-of-00002", "-00001-of-00002.fp16").replace(
            ".fp16-00002-of-00002", "-00002-of-00002.fp16"
        )
        for name in names
    }


def fetched(names: set[str], variant: str | None = None) -> set[str]:
    """Of the names those that would be downloaded."""
    chosen = choose_weights(names, variant=variant, where="org/name").files
    patterns = download_patterns(chosen.values())
    return {name for name in names if any(fnmatch.fnmatchcase(name, each) for each in patterns)}


@pytest.mark.parametrize("variant", [None, "fp16", "non_ema"])
@pytest.mark.parametrize("shards", [1, 2])
def test_of_one_kind_of_weights_all_and_nothing_else_is_taken(variant, shards):
    names = written(variant, shards=shards)
    choice = choose_weights(names, variant=None, where="here")
    assert set(choice.files) == set(NETWORKS)
    assert not choice.absent
    assert not choice.pickled
    assert len(choice.notes) == (variant is not None)
    assert fetched(names) == names
    assert fetched(names, variant) == names
    assert choose_weights(names, variant=variant, where="here").files == choice.files


@pytest.mark.parametrize("shards", [1, 2])
def test_of_several_the_given_one_is_fetched(shards):
    kinds = {variant: written(variant, shards=shards) for variant in (None, "fp16", "non_ema")}
    everything = set().union(*kinds.values())
    for variant, names in kinds.items():
        assert fetched(everything, variant) == names
        assert choose_weights(everything, variant=variant, where="here").notes == []


def test_older_spellings_of_shards():
    half, plain = older(written("fp16", shards=2)), written(shards=2)
    assert any(name.endswith("-00001-of-00002.fp16.safetensors") for name in half)
    assert fetched(half | plain, "fp16") == half
    assert fetched(half | plain) == plain
    index = {"text_encoder/model.fp16.safetensors.index.json"}
    shard = {"text_encoder/model.fp16-00001-of-00002.safetensors"}
    both = written("fp16", stems={"unet": NETWORKS["unet"], "vae": NETWORKS["vae"]}) | index | shard
    assert fetched(both) == both


def test_several_variants_without_plain_weights_are_listed_with_the_field():
    names = written("fp16") | written("bf16", stems={"unet": NETWORKS["unet"]})
    with pytest.raises(UserError) as caught:
        choose_weights(names, variant=None, where="org/name")
    assert str(caught.value) == (
        "org/name: unet has no plain weights, but several variants: bf16, fp16 (unet). Say which: "
        "--config.model.variant=bf16"
    )
    # Of the others the only one there is is taken.
    choice = choose_weights(names, variant="bf16", where="org/name")
    assert choice.files["unet"].endswith(".bf16.safetensors")
    assert choice.files["vae"].endswith(".fp16.safetensors")
    assert choice.notes == [
        "no plain weights of vae, text_encoder: the only variant, fp16, is taken"
    ]


def test_a_variant_that_is_not_there_is_answered_with_those_that_are():
    names = written() | written("fp16", stems={"unet": NETWORKS["unet"]})
    message = r"no weights of variant 'ema'\. There are: fp16, plain \(unet\); plain \(vae\)"
    with pytest.raises(UserError, match=message):
        choose_weights(names, variant="ema", where="here")
    with pytest.raises(UserError, match="There are: none"):
        choose_weights({"unet/config.json"}, variant="ema", where="here")


def test_msgpack_and_pickles_come_last():
    names = {"unet/diffusion_flax_model.msgpack", "unet/diffusion_pytorch_model.bin"}
    names |= {"vae/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.fp16.bin"}
    choice = choose_weights(names, variant=None, where="here")
    assert choice.files == {"unet": "unet/diffusion_flax_model.msgpack"}
    assert choice.pickled == ["vae/diffusion_pytorch_model.bin"]
    assert choice.absent == ["text_encoder/*.safetensors"]


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("shards", [1, 2])
def test_the_download_by_hand_fetches_what_is_there(variant, shards):
    patterns = [*patterns_of_all(variant), "*.json"]  # an index too, as the command has it
    names = written(variant, shards=shards)
    others = {"v1-5-pruned.safetensors", "safety_checker/model.safetensors", "unet/x.bin"}
    if variant:
        others |= written("non_ema", shards=shards)
    hit = {n for n in names | others if any(fnmatch.fnmatchcase(n, each) for each in patterns)}
    assert {name for name in hit if not name.endswith(".json")} == {
        name for name in names if not name.endswith(".json")
    }
