"""New tokens of a text encoder: their names, and their place in its table and tokenizer."""

import copy
from collections.abc import Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.errors import UserError
from dreamda_jax.types import AnyArray, Params

_TABLE = ("text_model", "embeddings", "token_embedding", "embedding")


def embedding_table(text_encoder: Params) -> jax.Array:
    """[v, d], the embedding of every token id."""
    return flax.traverse_util.flatten_dict(text_encoder)[_TABLE]


def with_rows(text_encoder: Params, rows: AnyArray) -> Params:
    """The text encoder's parameters with the embeddings of new tokens [n, d] after the others."""
    flat = dict(flax.traverse_util.flatten_dict(text_encoder))
    xp: Any = np if isinstance(flat[_TABLE], np.ndarray) else jnp
    flat[_TABLE] = xp.concatenate([flat[_TABLE], rows.astype(flat[_TABLE].dtype)])
    return flax.traverse_util.unflatten_dict(flat)


def token_names(label_names: Sequence[str], *, num_vectors: int) -> list[list[str]]:
    """The tokens of each class: "<golden-retriever>", and "<golden-retriever>_1" … if it has more.

    This is how diffusers spells a token of several vectors.

    Raises:
      UserError: two classes would have one token.
    """
    words = (name.replace("_", " ").replace("/", " ").split() for name in label_names)
    names = [f"<{'-'.join(each)}>" for each in words]
    twins = {name for name in names if names.count(name) > 1}
    if twins:
        raise UserError(f"several classes would share the token {sorted(twins)[0]}: rename one")
    return [[name, *(f"{name}_{i}" for i in range(1, num_vectors))] for name in names]


def extended_tokenizer(tokenizer: Any, tokens: Sequence[str]) -> Any:
    """A copy that knows `tokens`, with ids after all others in this order.

    Raises:
      UserError: it knows one of them already.
    """
    extended, before = copy.deepcopy(tokenizer), len(tokenizer)
    known = [token for token in tokens if token in tokenizer.get_vocab()]
    if known:
        raise UserError(
            f"the tokenizer knows {known[0]} already: the model was fine-tuned with this token "
            "before. Start from the original model, or rename the class."
        )
    extended.add_tokens(list(tokens))
    ids = extended.convert_tokens_to_ids(list(tokens))
    if ids != list(range(before, before + len(tokens))):
        raise UserError(f"tokenizer/: the new tokens got the ids {ids[:4]} …, not those after all")
    return extended


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text's own tokens, without begin, end and padding; at least one.

    Raises:
      UserError: there is none.
    """
    ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    if not ids:
        raise UserError(f"tokenizer/: has no token for {text!r}")
    return ids
