"""Find a language model's files: a local directory or a hub id, in transformers' layout."""

import re
from collections.abc import Set
from pathlib import Path
from typing import Any, NamedTuple

from dreamda_jax.data.files import staging
from dreamda_jax.errors import UserError
from dreamda_jax.models.weights import hub
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.models.weights.load import PICKLED_SUFFIXES

LAYOUT = """\
    config.json, model.safetensors (or model.safetensors.index.json and its shards),
    tokenizer.json (or what its tokenizer has instead), tokenizer_config.json"""

SUPPORTED = ("gemma", "gpt2", "llama", "mistral")
"""`model_type` of those whose Flax classes compute what PyTorch's do; see `check_config`."""

_ROTARY = ("gemma", "llama", "mistral")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_SMALL = [
    *("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "merges.txt", "chat_template*"),
]
_SHARDS = "model-*-of-*.safetensors"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class LanguageModelFiles(NamedTuple):
    """Where the parts of a language model lie on this machine."""

    directory: Path  # the tokenizer's too
    config: dict[str, Any]
    weights: Path
    stop_ids: tuple[int, ...]
    """Tokens that end an answer, of generation_config.json or config.json."""


def find_language_model(path: str, *, revision: str | None = None) -> LanguageModelFiles:
    """Find, and for a hub id download, the files of a causal language model.

    Args:
      path: a directory in transformers' layout, or a hub id such as
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0". A directory of that name wins.
      revision: branch, tag or commit on the hub; ignored for a directory.

    Raises:
      UserError: no such directory, a part is missing, only pickled weights are there, the
        architecture or a setting of it is not supported, or the hub cannot be reached or refuses.
    """
    directory = staging.local(path)
    if not directory.is_dir():
        if directory.exists() or not _HUB_ID.fullmatch(path):
            raise UserError(
                f"{path}: no such directory. Give a directory in transformers' layout:\n{LAYOUT}\n"
                "or a hub id such as TinyLlama/TinyLlama-1.1B-Chat-v1.0."
            )
        directory = _download(path, revision=revision)
    weights = _choose(_list_directory(directory), where=str(directory))
    config = read_json(directory / "config.json")
    check_config(config, where=f"{directory}/config.json")
    return LanguageModelFiles(directory, config, directory / weights, _stop_ids(directory, config))


def check_config(config: dict[str, Any], *, where: str) -> None:
    """Refuses what transformers' Flax classes lack, or ignore without a word.

    They compute rotary embeddings with base 10,000 whatever the configuration says, without
    scaling, and with a head size of hidden_size / num_attention_heads (Llama and Mistral); the
    gated layers have no biases (`modeling_flax_llama.py`, `_mistral.py`, `_gemma.py` of 4.57).

    Raises:
      UserError: names the setting.
    """
    kind = config.get("model_type")
    if kind not in SUPPORTED:
        raise UserError(
            f"{where}: model_type={kind!r} is not among those that run here without PyTorch: "
            f"{', '.join(SUPPORTED)}. Serve it with vLLM or Ollama and use writer='chat'."
        )
    wrong: dict[str, Any] = {}
    if config.get("quantization_config"):
        wrong["quantization_config"] = "given"
    if kind in _ROTARY:
        if (base := config.get("rope_theta") or 10_000.0) != 10_000.0:
            wrong["rope_theta"] = base
        if config.get("rope_scaling"):
            wrong["rope_scaling"] = config["rope_scaling"]
        if config.get("mlp_bias"):
            wrong["mlp_bias"] = True
    if kind in ("llama", "mistral"):
        size = config.get("hidden_size", 0) // (config.get("num_attention_heads") or 1)
        if (config.get("head_dim") or size) != size:
            wrong["head_dim"] = config["head_dim"]
    if wrong:
        said = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
        raise UserError(
            f"{where}: {said} is not what transformers' Flax classes compute, so this model's "
            "answers would be wrong here. Serve it with vLLM or Ollama and use writer='chat'."
        )


def _stop_ids(directory: Path, config: dict[str, Any]) -> tuple[int, ...]:
    file = directory / "generation_config.json"
    found = read_json(file).get("eos_token_id") if file.is_file() else None
    if found is None:
        found = config.get("eos_token_id")
    found = found if isinstance(found, list) else [found]
    return tuple(token for token in found if isinstance(token, int))


def _choose(names: Set[str], *, where: str) -> str:
    """Pick the weight file out of a directory's names; complain about all that is absent."""
    weights = [name for name in _WEIGHTS if name in names]
    pickled = sorted(name for name in names if name.endswith(PICKLED_SUFFIXES))
    absent = [] if "config.json" in names else ["config.json"]
    if not weights and not pickled:
        absent.append(_WEIGHTS[0])
    if absent:
        raise UserError(
            f"{where}: not a complete language model, it lacks {', '.join(absent)}. The layout "
            f"expected:\n{LAYOUT}"
        )
    if not weights:
        raise UserError(
            f"{where}/{pickled[0]}: pickled weights are refused, because unpickling runs code from "
            "the file. Convert the model once, in an environment with torch and transformers:\n"
            "    from transformers import AutoModelForCausalLM, AutoTokenizer\n"
            f'    AutoModelForCausalLM.from_pretrained("{where}").save_pretrained("converted")\n'
            f'    AutoTokenizer.from_pretrained("{where}").save_pretrained("converted")\n'
            "and use the new directory: --config.prompts.model=converted"
        )
    return weights[0]


def _download(repo_id: str, *, revision: str | None) -> Path:
    def patterns(names: set[str]) -> list[str]:
        weights = _choose(names, where=repo_id)
        return [*_SMALL, weights, *([_SHARDS] if weights.endswith(".json") else [])]

    name = repo_id.rsplit("/", 1)[-1]
    return hub.fetch_snapshot(
        repo_id,
        revision=revision,
        patterns=patterns,
        list_files=_list_directory,
        by_hand=(
            f'    hf download {repo_id} --include "*.json" "*.model" merges.txt "*.jinja" '
            f'"*.safetensors" --local-dir {name}\n'
            f"copy the directory here and give its path: --config.prompts.model={name}"
        ),
    )


def _list_directory(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir() if file.is_file()}
