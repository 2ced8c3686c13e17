"""A local model computes what its weights say, and its texts reach whoever judges them."""

import json
import threading

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dreamda_jax.errors import UserError
from dreamda_jax.prompts import build
from dreamda_jax.prompts.language_model import LanguageModel
from dreamda_jax.prompts.language_model_files import find_language_model
from dreamda_jax.prompts.options import Prompts
from dreamda_jax.prompts.writer import Ask
from tests.prompting import tiny_language_model as tiny

QUESTION = [{"role": "user", "content": "Write of a bag."}]


def load(directory, dtype="float32"):
    return LanguageModel(find_language_model(str(directory)), dtype=dtype)


def answer(model, seed=0, temperature=0.0, max_tokens=12):
    return model.answer(
        jax.random.key(seed), QUESTION, temperature=temperature, max_tokens=max_tokens
    )


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("llama") / "model")


@pytest.fixture(scope="module")
def llama_model(llama):
    return load(llama)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("mistral", {}),
        ("mistral", {"sliding_window": 8}),
        ("gemma", {}),
        ("gpt2", {}),
    ],
)
def test_the_likeliest_tokens_are_those_of_the_reference(tmp_path, kind, changes):
    directory = tiny.make(tmp_path / kind, kind, **changes)
    text, cut = answer(load(directory))
    ids = [tiny.LETTERS.index(letter) for letter in "<user>Write of a bag.<assistant>"]
    written = []
    while len(written) < 12 and tiny.END not in written:
        logits = tiny.next_token_logits(directory, ids + written)
        assert np.diff(np.sort(logits)[-2:]) > 1e-3  # no tie that float32 would break otherwise
        written.append(int(logits.argmax()))
    assert text == "".join(tiny.LETTERS[i] for i in written if i != tiny.END)
    assert cut == (tiny.END not in written)


def test_without_a_chat_template_the_model_goes_on_with_a_list(tmp_path):
    directory = tiny.make(tmp_path, chat=False)
    text, _ = answer(load(directory), max_tokens=1)
    ids = [tiny.LETTERS.index(letter) for letter in "Write of a bag.\n\n1."]
    likeliest = int(tiny.next_token_logits(directory, ids).argmax())
    assert text == "1." + tiny.LETTERS[likeliest]


def test_the_seed_decides(llama_model):
    def sample(seed):
        return answer(llama_model, seed=seed, temperature=1.0, max_tokens=40)

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_a_stop_token_ends_the_answer(tmp_path, llama):
    text, cut = answer(load(llama))
    assert cut
    third = text[2]
    stop = {"eos_token_id": [tiny.END, tiny.LETTERS.index(third)]}
    directory = tiny.make(tmp_path)
    (directory / "generation_config.json").write_text(json.dumps(stop))
    assert answer(load(directory)) == (text[: text.index(third)], False)


def test_a_question_longer_than_the_context(llama_model):
    long = [{"role": "user", "content": "x" * tiny.CONTEXT}]
    with pytest.raises(UserError, match="tokens of the 2,048 that this model can read and write"):
        llama_model.answer(jax.random.key(0), long, temperature=1.0, max_tokens=100)


def test_shards_and_bfloat16(tmp_path, llama):
    directory = tiny.make(tmp_path)
    weights = load_file(directory / "model.safetensors")
    names = sorted(weights)
    index = {}
    for i, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{i}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, directory / file)
        index |= dict.fromkeys(part, file)
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert answer(load(directory)) == answer(load(llama))
    text, _ = answer(load(directory, "bfloat16"))
    assert len(text) == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "qwen2"}, "model_type='qwen2' is not among"),
        ({"rope_theta": 500_000.0}, "rope_theta=500000.0 is not what"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling="),
        ({"head_dim": 16}, "head_dim=16"),
        ({"mlp_bias": True}, "mlp_bias=True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config="),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(tmp_path, changes, message):
    directory = tiny.make(tmp_path)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UserError, match=message):
        find_language_model(str(directory))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        find_language_model(str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"lacks config\.json, model\.safetensors"):
        find_language_model(str(tmp_path))
    directory = tiny.make(tmp_path / "pickled")
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickled weights are refused"):
        find_language_model(str(directory))


def test_weights_of_another_model(tmp_path):
    directory = tiny.make(tmp_path)
    weights = load_file(directory / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights | {"extra": np.zeros(3, np.float32)}, directory / "model.safetensors")
    with pytest.raises(UserError, match=r"1 tensors are missing: model\.norm.*unexpected: extra"):
        load(directory)


def writer(directory, stop=None, **values):
    options = Prompts(
        **{"writer": "local", "model": str(directory), "dtype": "float32", "batch": 2, **values}
    )
    return build.open_writer(options, stop or threading.Event())


def test_the_writer_s_draws_depend_on_class_and_state(llama):
    mine = writer(llama, max_words=15)
    ask = Ask("bag", "bag", 2)
    first = mine.write(ask)
    assert first
    assert mine.write(ask) == first
    assert writer(llama, max_words=15).write(ask) == first
    assert writer(llama, max_words=15, seed=2**32 - 1).write(ask) != first
    assert mine.write(Ask("bag", "bag", 2, misses=1)) != first
    assert mine.write(Ask("cat", "bag", 2)) != first
    assert mine.record == {"writer": "local", "model": str(llama)}


def test_the_writer_stops(llama):
    stop = threading.Event()
    mine = writer(llama, stop)
    stop.set()
    assert mine.write(Ask("bag", "bag", 2)) is None
