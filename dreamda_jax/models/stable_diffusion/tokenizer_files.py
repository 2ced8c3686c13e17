"""A tokenizer's files in a checkpoint that is written: copies, and what new tokens change in them.

transformers' own `save_pretrained` writes whatever the tokenizer brought along, under names that it
brought along as well: a chat template called "../../x" lands outside of the directory
(CVE-2026-9856). Here the names are those of `FILES`, and the content is a copy or made here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamda_jax.data.files import atomic
from dreamda_jax.models.weights.hub import read_json

FILES = (
    *("vocab.json", "merges.txt", "tokenizer.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
"""What a CLIP tokenizer is loaded from; nothing else of its directory is copied."""

_CONFIG, _ADDED, _FAST = "tokenizer_config.json", "added_tokens.json", "tokenizer.json"
_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
# Of a tokenizer_config.json, what tells how text is read. A template, code or a path does not.
_KEPT: Mapping[str, type] = {
    "add_prefix_space": bool,
    "clean_up_tokenization_spaces": bool,
    "do_lower_case": bool,
    "errors": str,
    "padding_side": str,
    "truncation_side": str,
    "split_special_tokens": bool,
}


def contents(directory: Path, tokenizer: Any = None) -> dict[str, Path | bytes]:
    """What to write, by the name of its file: a file to copy, or the bytes.

    Args:
      directory: that the tokenizer was loaded from.
      tokenizer: CLIP's, with the new tokens; None: there are none.

    Raises:
      UserError: tokenizer_config.json is no JSON object.
    """
    files: dict[str, Path | bytes] = {
        name: directory / name for name in FILES if (directory / name).is_file()
    }
    if tokenizer is None:
        return files
    base = tokenizer.vocab_size
    added = {token: place for token, place in tokenizer.get_added_vocab().items() if place >= base}
    files[_CONFIG] = atomic.to_json(_config(directory, tokenizer))
    files[_ADDED] = atomic.to_json(added)
    files[_FAST] = tokenizer.backend_tokenizer.to_str(pretty=True).encode()
    return files


def _config(directory: Path, tokenizer: Any) -> dict[str, Any]:
    file = directory / _CONFIG
    known = read_json(file) if file.is_file() else {}
    kept = {name: known[name] for name, kind in _KEPT.items() if isinstance(known.get(name), kind)}
    tokens = {name: getattr(tokenizer, name) for name in _TOKENS}
    decoder = {
        str(place): {
            "content": token.content,
            "lstrip": token.lstrip,
            "normalized": token.normalized,
            "rstrip": token.rstrip,
            "single_word": token.single_word,
            "special": token.special,
        }
        for place, token in tokenizer.added_tokens_decoder.items()
    }
    return {
        **kept,
        **{name: str(token) for name, token in tokens.items() if token is not None},
        "added_tokens_decoder": decoder,
        "model_max_length": tokenizer.model_max_length,
        "tokenizer_class": "CLIPTokenizer",
    }
