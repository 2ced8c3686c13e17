"""Make dreamda_jax/models/clip/vocabulary: OpenAI's byte pairs, in transformers' layout.

Needs the file that CLIP's repository and open_clip_torch 3.3.0 carry, and nothing but Python:

    pip download --no-deps open_clip_torch==3.3.0
    unzip -j open_clip_torch-3.3.0-*.whl open_clip/bpe_simple_vocab_16e6.txt.gz
    python tests/reference/make_clip_vocabulary.py bpe_simple_vocab_16e6.txt.gz

The tokens: 256 bytes, the same at the end of a word, 48,894 merged pairs, begin and end.
"""

import gzip
import json
import sys
from pathlib import Path

DIRECTORY = Path(__file__).parents[2] / "dreamda_jax" / "models" / "clip" / "vocabulary"
NUM_TOKENS = 49_408
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def byte_names() -> list[str]:
    """A printable character for every byte, in the order of CLIP's ids."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*map(chr, printable), *(chr(256 + i) for i in range(256 - len(printable)))]


def main() -> None:
    num_merges = NUM_TOKENS - 2 * 256 - 2
    lines = gzip.decompress(Path(sys.argv[1]).read_bytes()).decode().split("\n")
    merges = lines[1 : 1 + num_merges]  # the first names the file
    names = byte_names()
    tokens = [*names, *(f"{name}</w>" for name in names)]
    tokens += ["".join(pair.split()) for pair in merges]
    tokens += [BEGIN, END]
    if len(set(tokens)) != NUM_TOKENS:
        raise SystemExit(f"{len(set(tokens))} tokens, not {NUM_TOKENS}: another file?")
    kinds = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    config = {
        "added_tokens_decoder": {
            str(tokens.index(token)): {"content": token, **kinds, "special": True}
            for token in (BEGIN, END)
        },
        "bos_token": BEGIN,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "errors": "replace",
        "model_max_length": 77,
        "pad_token": END,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": END,
    }
    ids = {token: place for place, token in enumerate(tokens)}
    DIRECTORY.mkdir(exist_ok=True)
    lines = json.dumps(ids, ensure_ascii=False, separators=(",\n", ":"))
    (DIRECTORY / "vocab.json").write_text(lines + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *merges, ""]
    (DIRECTORY / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    (DIRECTORY / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
