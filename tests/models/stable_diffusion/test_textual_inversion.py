"""New tokens: their names, their ids, and their rows in the text encoder's table."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import textual_inversion
from dreamda_jax.models.stable_diffusion.textual_inversion import (
    extended_tokenizer,
    token_names,
    with_rows,
)
from dreamda_jax.models.tokenizer import load_tokenizer
from tests.support.make_checkpoint import TINY_SD

CLASSES = ("Golden Retriever", "ankle_boot", "bag")
TOKENS = [token for own in token_names(CLASSES, num_vectors=2) for token in own]


@pytest.fixture(params=["vocabulary", "json"])
def tokenizer(request, tmp_path):
    """Of the sample, as a checkpoint with vocabulary and merges has it or one with only a JSON."""
    tokenizer = load_tokenizer(TINY_SD / "tokenizer")
    if request.param == "vocabulary":
        return tokenizer
    (tmp_path / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str())
    shutil.copy(TINY_SD / "tokenizer" / "tokenizer_config.json", tmp_path)
    return load_tokenizer(tmp_path)


def plain(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def test_names_of_tokens():
    assert token_names(CLASSES, num_vectors=1) == [
        ["<Golden-Retriever>"],
        ["<ankle-boot>"],
        ["<bag>"],
    ]
    assert token_names(("bag", "t-shirt"), num_vectors=3) == [
        ["<bag>", "<bag>_1", "<bag>_2"],
        ["<t-shirt>", "<t-shirt>_1", "<t-shirt>_2"],
    ]
    # Nothing in a token is cut off by a tokenizer that splits a prompt at spaces.
    assert token_names((" a  tall_tree ",), num_vectors=1) == [["<a-tall-tree>"]]


@pytest.mark.parametrize(
    "names", [("t shirt", "bag", "t-shirt"), ("t_shirt", "t shirt"), ("t-shirt", "t/shirt")]
)
def test_two_classes_with_one_token_are_refused(names):
    with pytest.raises(UserError, match="several classes would share the token <t-shirt>"):
        token_names(names, num_vectors=2)


def test_new_ids_come_after_all_others_in_order(tokenizer):
    extended = extended_tokenizer(tokenizer, TOKENS)
    first = len(tokenizer)
    assert len(extended) == first + 6
    assert extended.convert_tokens_to_ids(TOKENS) == list(range(first, first + 6))


def test_a_token_in_a_prompt_is_its_id_and_the_rest_is_as_before(tokenizer):
    extended = extended_tokenizer(tokenizer, TOKENS)
    first = len(tokenizer)
    around = plain(tokenizer, "a photo of a"), plain(tokenizer, ", smiling")
    # Capitals, a hyphen for a space or an underscore, and the second token not read as the first.
    for place in range(3):
        text = " ".join(TOKENS[2 * place : 2 * place + 2])
        ids = plain(extended, f"a photo of a {text}, smiling")
        assert ids == [*around[0], first + 2 * place, first + 2 * place + 1, *around[1]]
    assert plain(extended, "a<bag>") == [*plain(tokenizer, "a"), first + 4]


def test_prompts_without_tokens_are_encoded_as_before(tokenizer):
    extended = extended_tokenizer(tokenizer, TOKENS)
    for text in ("a photo of an ankle boot", "A Golden Retriever, 3 bags!", "<ba g> bag_1", ""):
        assert extended(text).input_ids == tokenizer(text).input_ids
        kinds = {"padding": "max_length", "max_length": 16, "truncation": True}
        assert extended(text, **kinds).input_ids == tokenizer(text, **kinds).input_ids


def test_the_original_tokenizer_is_left_alone(tokenizer):
    text = "a photo of a <bag> <bag>_1"
    before, ids, vocabulary = len(tokenizer), plain(tokenizer, text), tokenizer.get_vocab()
    extended_tokenizer(tokenizer, TOKENS)
    assert len(tokenizer) == before
    assert plain(tokenizer, text) == ids
    assert tokenizer.get_vocab() == vocabulary
    assert max(ids) < before


def test_a_token_that_is_known_is_refused(tokenizer):
    extended = extended_tokenizer(tokenizer, ["<bag>"])
    with pytest.raises(UserError, match=r"knows <bag> already: .* fine-tuned with this token"):
        extended_tokenizer(extended, ["<boot>", "<bag>"])
    other = extended_tokenizer(extended, ["<boot>"])
    assert plain(other, "<bag><boot>") == [len(tokenizer), len(tokenizer) + 1]


def test_the_same_token_twice_is_refused(tokenizer):
    with pytest.raises(UserError, match="the new tokens got the ids"):
        extended_tokenizer(tokenizer, ["<bag>", "<boot>", "<bag>"])


def test_a_written_tokenizer_has_the_same_ids(tokenizer, tmp_path):
    extended = extended_tokenizer(tokenizer, TOKENS)
    extended.save_pretrained(str(tmp_path / "written"))
    read = load_tokenizer(tmp_path / "written")
    assert len(read) == len(extended)
    for text in ("a photo of a <Golden-Retriever> <Golden-Retriever>_1", "<bag>, a bag", ""):
        assert read(text).input_ids == extended(text).input_ids


def test_a_class_name_s_own_tokens(tokenizer):
    ids = textual_inversion.plain_ids(tokenizer, "ankle boot")
    assert tokenizer.decode(ids).strip() == "ankle boot"
    with_marks = tokenizer("ankle boot").input_ids
    assert with_marks == [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]


@pytest.mark.parametrize("text", ["", "  "])
def test_a_name_without_tokens_is_refused(tokenizer, text):
    with pytest.raises(UserError, match="has no token for"):
        textual_inversion.plain_ids(tokenizer, text)


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
@pytest.mark.parametrize("on_host", [True, False])
def test_rows_come_after_the_others(tiny, dtype, on_host):
    kind = np.ndarray if on_host else jax.Array
    convert = np.asarray if on_host else jnp.asarray
    encoder = jax.tree.map(lambda leaf: convert(leaf).astype(dtype), tiny[1]["text_encoder"])
    rows = np.random.default_rng(0).standard_normal((3, 64), np.float32)
    extended = with_rows(encoder, convert(rows))
    table = textual_inversion.embedding_table(encoder)
    new = textual_inversion.embedding_table(extended)
    assert isinstance(new, kind)
    assert new.dtype == dtype
    np.testing.assert_array_equal(new[: len(table)], table)
    np.testing.assert_array_equal(new[len(table) :], rows.astype(dtype))
    assert new.shape == (635 + 3, 64)
    assert table.shape == (635, 64)  # not in place
    # Everything else is the very same array.
    same = [
        one is other for one, other in zip(*map(jax.tree.leaves, (encoder, extended)), strict=True)
    ]
    assert same.count(False) == 1


def test_a_new_token_with_an_old_one_s_embedding_means_the_same(tiny):
    model, params = tiny
    tokenizer = extended_tokenizer(model.tokenizer, ["<bag>"])
    extended = model.with_vocabulary(model.vocabulary + 1, tokenizer)
    (bag,) = textual_inversion.plain_ids(model.tokenizer, "bag")
    table = textual_inversion.embedding_table(params["text_encoder"])
    encoder = {"text_encoder": with_rows(params["text_encoder"], table[bag : bag + 1])}
    ids = extended.tokenize(["a photo of a <bag>"])
    assert model.vocabulary in ids
    found = jax.jit(extended.encode_text)(encoder, ids)
    expected = jax.jit(model.encode_text)(params, model.tokenize(["a photo of a bag"]))
    np.testing.assert_allclose(found, expected, atol=1e-6)  # the same float32 program


def test_a_gradient_reaches_new_rows_that_a_prompt_has(tiny):
    model, params = tiny
    extended = model.with_vocabulary(
        model.vocabulary + 2, extended_tokenizer(model.tokenizer, ["<bag>", "<boot>"])
    )
    ids = extended.tokenize(["a photo of a <boot>"])

    @jax.jit
    @jax.grad
    def gradient(rows, position):
        encoder = {"text_encoder": with_rows(params["text_encoder"], rows)}
        return jnp.sum(jnp.square(extended.encode_text(encoder, ids)[0, position] - 1))

    rows = jnp.ones((2, 64))
    after, before = (np.asarray(gradient(rows, position)) for position in (-1, 3))
    assert not after[0].any()  # of <bag>, which is not in the prompt
    assert after[1].all()
    assert not before.any()  # the encoder is causal: "of" does not see what follows
