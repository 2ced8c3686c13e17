"""Ids of a thousand prompts: those of the reference, whatever files the tokenizer is read from."""

import json
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest

from dreamda_jax.models.tokenizer import clip_tokenizer, encode_prompts, load_tokenizer
from tests.support.paths import REFERENCE, ROOT

VOCABULARY = ROOT / "dreamda_jax" / "models" / "clip" / "vocabulary"
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


@pytest.fixture(scope="module")
def reference():
    """Prompts, and their ids [1000, 77] with the end token and with "!" as padding."""
    with np.load(REFERENCE / "tokenizer.npz") as arrays:
        prompts = json.loads(arrays["prompts"].tobytes())
        return prompts, arrays["ids"].astype(np.int32), arrays["ids_sd2"].astype(np.int32)


def spelt_out(token):
    kinds = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    return {"__type": "AddedToken", "content": token, **kinds}


def of_stable_diffusion(directory, *, pad_token):
    """As the checkpoints on the hub have it, written by transformers of 2022."""
    bare(directory)
    config = {"bos_token": spelt_out(BEGIN), "eos_token": spelt_out(END), "do_lower_case": True}
    config |= {"unk_token": spelt_out(END), "pad_token": pad_token, "model_max_length": 77}
    config |= {"add_prefix_space": False, "errors": "replace", "tokenizer_class": "CLIPTokenizer"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))


def bare(directory):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(VOCABULARY / name, directory)


def packaged(directory):
    for file in VOCABULARY.iterdir():
        shutil.copy(file, directory)


def of_transformers_5(directory):
    """One JSON, whose begin and end are found in small letters only."""
    state = json.loads(clip_tokenizer().backend_tokenizer.to_str())
    for token in state["added_tokens"]:
        token["normalized"] = False
    (directory / "tokenizer.json").write_text(json.dumps(state))
    config = {"backend": "tokenizers", "bos_token": BEGIN, "eos_token": END, "unk_token": END}
    config |= {"pad_token": END, "model_max_length": 77, "is_local": True}
    config |= {"tokenizer_class": "CLIPTokenizer", "errors": "replace", "do_lower_case": True}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))


def only_the_json(directory):
    of_transformers_5(directory)
    (directory / "tokenizer_config.json").unlink()


def all_files(directory):
    packaged(directory)
    of_transformers_5(directory)


def sd15(directory):
    of_stable_diffusion(directory, pad_token=END)


FORMS = (packaged, bare, sd15, of_transformers_5, only_the_json, all_files)


@pytest.fixture
def without_ftfy(monkeypatch):
    """An ftfy that must not be used."""

    def fix_text(text):
        raise AssertionError("a text was mended")

    module = types.ModuleType("ftfy")
    module.fix_text = fix_text
    monkeypatch.setitem(sys.modules, "ftfy", module)


@pytest.mark.parametrize("write", FORMS)
def test_ids_are_those_of_the_reference(reference, without_ftfy, tmp_path, write):
    write(tmp_path)
    prompts, expected, _ = reference
    ids = encode_prompts(load_tokenizer(tmp_path), prompts, length=77, vocabulary=49408)
    different = [prompts[row] for row in np.flatnonzero((ids != expected).any(axis=1))]
    assert different == []


def test_ids_of_the_package_s_own_tokenizer(reference, tmp_path):
    prompts, ids, ids_sd2 = reference
    assert len(prompts) == len(set(prompts)) == 1000
    sizes = {"length": 77, "vocabulary": 49408}
    np.testing.assert_array_equal(encode_prompts(clip_tokenizer(), prompts, **sizes), ids)
    padded = encode_prompts(clip_tokenizer(pad_token="!"), prompts, **sizes)
    np.testing.assert_array_equal(padded, ids_sd2)
    assert (ids != ids_sd2).any(axis=1).mean() > 0.5
    of_stable_diffusion(tmp_path, pad_token="!")
    read = encode_prompts(load_tokenizer(tmp_path), prompts, **sizes)
    np.testing.assert_array_equal(read, ids_sd2)


def test_transformers_is_imported_when_a_tokenizer_is_loaded_and_says_nothing():
    program = """
import logging, os, sys
from dreamda_jax.models import tokenizer
assert "transformers" not in sys.modules
before = dict(os.environ)
tokenizer.clip_tokenizer()
assert "transformers" in sys.modules
assert dict(os.environ) == before
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
