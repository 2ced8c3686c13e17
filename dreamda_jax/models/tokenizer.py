"""CLIP's tokenizer: prompts to token ids, as diffusers' pipelines do with transformers 5.

It is transformers' fast one, whatever version is installed and whatever files a checkpoint brings:
the slow one of transformers 4 reads control characters, Chinese and joined emoji otherwise, and
other texts again where ftfy is installed. transformers is imported here only, when there is
something to encode: it takes a second.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamda_jax.errors import UserError

_VOCABULARY = Path(__file__).parent / "clip" / "vocabulary"
# TensorFlow, if it is installed, would be loaded with its log lines and its claim on a GPU's memory
# for nothing; and that there is no PyTorch is no news.
_QUIET = {"USE_TF": "0", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}


def load_tokenizer(directory: Path) -> Any:
    """Load the tokenizer of a checkpoint's `tokenizer` folder.

    Args:
        directory: with vocab.json and merges.txt, with tokenizer.json, or with all of them.

    Returns:
        transformers' fast CLIP tokenizer. The same text has the same ids in every version.

    Raises:
        UserError: its files are damaged.
    """
    try:
        return _load(directory)
    except Exception as error:  # transformers lets through whatever its parsers raise
        raise UserError(f"{directory}: the tokenizer cannot be loaded ({error!r}).") from error


def clip_tokenizer(*, pad_token: str = "<|endoftext|>") -> Any:
    """The tokenizer of OpenAI's CLIP, for 77 tokens, where a checkpoint brings none.

    Args:
        pad_token: "<|endoftext|>" as in Stable Diffusion 1, "!" as in Stable Diffusion 2.
    """
    return _load(_VOCABULARY, pad_token=pad_token)


def _load(directory: Path, **fields: Any) -> Any:
    with _quiet_import():
        import transformers

        # transformers 5 has one class, and keeps the other name for it.
        newest = int(transformers.__version__.split(".")[0]) >= 5
        cls = getattr(transformers, "CLIPTokenizer" if newest else "CLIPTokenizerFast")
    tokenizer = cls.from_pretrained(str(directory), local_files_only=True, **fields)
    _find_marks_in_any_case(tokenizer)
    return tokenizer


def _find_marks_in_any_case(tokenizer: Any) -> None:
    """Makes "<|EndOfText|>" in a prompt the end token, as OpenAI's tokenizer does.

    Without it that depends on the files and on the versions of transformers and tokenizers, of
    which some ignore what is said of a token that they know.
    """
    backend = tokenizer.backend_tokenizer
    state = json.loads(backend.to_str())
    marks = [
        token
        for token in state["added_tokens"]
        if token["content"] in (tokenizer.bos_token, tokenizer.eos_token)
    ]
    if not all(token["normalized"] for token in marks):
        for token in marks:
            token["normalized"] = True
        backend.__setstate__(json.dumps(state).encode())


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """The environment is as it was at the end, so later imports are not affected."""
    before = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update(_QUIET)
    try:
        yield
    finally:
        _restore(before)


def _restore(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def encode_prompts(
    tokenizer: Any, prompts: Sequence[str], *, length: int, vocabulary: int
) -> np.ndarray:
    """Encode prompts, padded and cut to `length` tokens.

    Args:
        tokenizer: what `load_tokenizer` returns.
        prompts: b texts; "" is one too.
        length: l, the number of tokens of every row.
        vocabulary: how many ids the text encoder knows.

    Returns:
        int32 [b, l], 0 .. vocabulary - 1.

    Raises:
        UserError: the tokenizer cannot pad, or yields an id outside the vocabulary.
    """
    try:
        encoded = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=length,
            truncation=True,
            return_tensors="np",
        )
        ids = np.asarray(encoded.input_ids, np.int32)
    except (ValueError, TypeError) as error:
        raise UserError(f"tokenizer/: cannot encode a prompt ({error}).") from error
    if ids.size and (ids.min() < 0 or ids.max() >= vocabulary):
        raise UserError(
            f"tokenizer/: yields token id {ids.max()}, but the text encoder knows only "
            f"{vocabulary} ids. They are not of the same model."
        )
    return ids


def find_cut(tokenizer: Any, prompts: Sequence[str], *, length: int) -> list[str]:
    """Those of the prompts that have more than `length` tokens, and are cut by `encode_prompts`."""
    longest = getattr(tokenizer, "model_max_length", length)
    with _no_warning_of_length():
        encoded = tokenizer(list(prompts), truncation=False).input_ids if prompts else []
    return [
        text for text, ids in zip(prompts, encoded, strict=True) if len(ids) > min(length, longest)
    ]


@contextlib.contextmanager
def _no_warning_of_length() -> Iterator[None]:
    """Keeps transformers from saying that a sequence it was asked not to cut is long."""
    logger = logging.getLogger("transformers.tokenization_utils_base")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def check_empty_prompt(tokenizer: Any, *, length: int, vocabulary: int) -> None:
    """Make sure that "" can be encoded, which classifier-free guidance needs.

    Raises:
        UserError: there is no begin, end or padding token inside the vocabulary.
    """
    names = ("bos_token", "eos_token", "pad_token")
    missing = [name for name in names if getattr(tokenizer, name, None) is None]
    try:
        if missing:
            raise UserError(f"tokenizer/: has no {' and no '.join(missing)}.")
        encode_prompts(tokenizer, [""], length=length, vocabulary=vocabulary)
    except UserError as error:
        raise UserError(
            f"This model has no empty prompt, which guidance needs. {error} Set guidance_scale=1 "
            "and a source prompt of your own, or take a checkpoint with a complete tokenizer."
        ) from error
