"""Descriptions by a language model on this machine."""

import hashlib
import threading

import jax

from dreamda_jax.prompts import request
from dreamda_jax.prompts import wording as replies
from dreamda_jax.prompts.language_model import LanguageModel
from dreamda_jax.prompts.writer import Ask

_TOKENS_PER_WORD = 2
_TOKENS_PER_LINE = 8


class LocalWriter:
    """A `Writer` that asks a language model on this machine.

    An answer's random draws derive from the seed, the class's name, how many descriptions the class
    has, and how many requests in a row brought nothing.

    Args:
      model: with its weights.
      path: where it is from, for the record.
      wording: of the request, with its placeholders.
      min_words: of a description.
      max_words: of a description.
      batch: descriptions of the largest request, for which every answer is given room.
      temperature: of sampling.
      seed: of sampling.
      stop: when set, nothing more is asked.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        path: str,
        wording: str,
        min_words: int,
        max_words: int,
        batch: int,
        temperature: float,
        seed: int,
        stop: threading.Event,
    ) -> None:
        self._model, self._path = model, path
        self._wording, self._min_words, self._max_words = wording, min_words, max_words
        # One length for all: each other one would be compiled anew.
        self._max_tokens = batch * (max_words * _TOKENS_PER_WORD + _TOKENS_PER_LINE)
        self._temperature, self._seed, self._stop = temperature, seed, stop

    @property
    def record(self) -> dict[str, str]:
        """Who wrote."""
        return {"writer": "local", "model": self._path}

    def write(self, ask: Ask) -> list[str] | None:
        """What the model answered; None if the job was asked to stop.

        Raises:
          UserError: the request does not fit into the model's context.
        """
        if self._stop.is_set():
            return None
        said = request.messages(
            ask, request=self._wording, min_words=self._min_words, max_words=self._max_words
        )
        text, cut = self._model.answer(
            self._key(ask),
            said,
            temperature=self._temperature,
            max_tokens=self._max_tokens,
        )
        return replies.descriptions(text, cut=cut)

    def _key(self, ask: Ask) -> jax.Array:
        digest = hashlib.sha256(ask.class_name.encode("utf-8", "surrogatepass")).digest()
        key = jax.random.key(self._seed)
        for number in (int.from_bytes(digest[:4], "big"), len(ask.accepted), ask.misses):
            key = jax.random.fold_in(key, number)
        return key
