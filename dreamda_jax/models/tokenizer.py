"""The CLIP tokenizer of a checkpoint: prompts to token ids, exactly as diffusers' pipelines do."""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamda_jax.errors import UserError


def load_tokenizer(directory: Path) -> Any:
    """Load the tokenizer of a checkpoint's `tokenizer` folder.

    Raises:
        UserError: its files are damaged.
    """
    with _without_tensorflow():  # here, where it is needed: it takes half a second
        from transformers import CLIPTokenizer, CLIPTokenizerFast

    # The slow class is what diffusers' pipelines use; the fast one normalises text differently.
    slow = (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file()
    try:
        return (CLIPTokenizer if slow else CLIPTokenizerFast).from_pretrained(
            str(directory), local_files_only=True
        )
    except Exception as error:  # transformers lets through whatever its parsers raise
        raise UserError(f"{directory}: the tokenizer cannot be loaded ({error!r}).") from error


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


@contextlib.contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Keeps transformers from loading TensorFlow, where the `prepare` extra installed it.

    It would come with its log lines and its claim on GPU memory, for nothing.
    """
    previous = os.environ.get("USE_TF")
    os.environ["USE_TF"] = "0"
    try:
        yield
    finally:
        if previous is None:
            del os.environ["USE_TF"]
        else:
            os.environ["USE_TF"] = previous
