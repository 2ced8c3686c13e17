"""How many prompts are cut, and that asking makes no noise."""

import logging

import numpy as np
import pytest

from dreamda_jax.models.tokenizer import encode_prompts, find_cut, load_tokenizer
from tests.support.make_checkpoint import TINY_SD

LENGTH = 16
# "a" is one token; begin and end are two more.
FITS, TOO_LONG = "a " * (LENGTH - 2), "a " * (LENGTH - 1)
VOCABULARY = 635
LOGGER = logging.getLogger("transformers.tokenization_utils_base")


@pytest.fixture
def tokenizer():
    return load_tokenizer(TINY_SD / "tokenizer")


def test_prompts_that_are_cut_are_counted(tokenizer):
    assert len(find_cut(tokenizer, [FITS, "", "a bag"], length=LENGTH)) == 0
    assert len(find_cut(tokenizer, [TOO_LONG, FITS, "a " * 200, ""], length=LENGTH)) == 2
    assert len(find_cut(tokenizer, [], length=LENGTH)) == 0


def test_cut_is_what_encoding_loses(tokenizer):
    prompts = [FITS, TOO_LONG, "", "the ankle boot, " * 3, "a photo of a bag"]
    kept = encode_prompts(tokenizer, prompts, length=LENGTH, vocabulary=VOCABULARY)
    wide = encode_prompts(tokenizer, prompts, length=99, vocabulary=VOCABULARY)
    # Padding is the end's own id, so a prompt that is cut has other ids after the last place.
    lost = (wide[:, LENGTH:] != tokenizer.pad_token_id).any(axis=1)
    lost |= (kept != wide[:, :LENGTH]).any(axis=1)
    for prompt, cut in zip(prompts, lost, strict=True):
        assert len(find_cut(tokenizer, [prompt], length=LENGTH)) == cut
    assert lost.tolist() == [False, True, False, True, False]


def test_the_shorter_of_both_lengths_counts(tokenizer):
    assert tokenizer.model_max_length == LENGTH
    assert len(find_cut(tokenizer, [TOO_LONG], length=77)) == 1
    assert len(find_cut(tokenizer, [FITS], length=LENGTH - 1)) == 1
    tokenizer.model_max_length = 77
    assert len(find_cut(tokenizer, [TOO_LONG], length=77)) == 0


@pytest.fixture
def warnings():
    """Messages of transformers about a tokenizer's use."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    LOGGER.addHandler(handler)
    yield messages
    LOGGER.removeHandler(handler)


def test_counting_says_nothing(tokenizer, warnings):
    assert len(find_cut(tokenizer, [TOO_LONG], length=LENGTH)) == 1
    assert warnings == []
    load_tokenizer(TINY_SD / "tokenizer")(TOO_LONG)  # which warns once
    assert len(warnings) == 1
    assert "longer than the specified maximum" in warnings[0]


def test_warnings_are_on_again_after_a_failure():
    def fail(*args, **kwargs):
        assert LOGGER.disabled
        raise RuntimeError("no ids")

    with pytest.raises(RuntimeError, match="no ids"):
        find_cut(fail, ["a"], length=LENGTH)
    assert not LOGGER.disabled


def test_counting_changes_no_encoding(tokenizer):
    before = encode_prompts(tokenizer, [TOO_LONG], length=LENGTH, vocabulary=VOCABULARY)
    find_cut(tokenizer, [TOO_LONG], length=LENGTH)
    after = encode_prompts(tokenizer, [TOO_LONG], length=LENGTH, vocabulary=VOCABULARY)
    np.testing.assert_array_equal(before, after)
    assert before.shape == (1, LENGTH)
