"""Descriptions by a model behind an OpenAI-compatible endpoint."""

from dreamda_jax.prompts.chat import ChatClient
from dreamda_jax.prompts.wording import descriptions, messages
from dreamda_jax.prompts.writer import Ask


class ChatWriter:
    """A `Writer` that asks an endpoint.

    Args:
      client: of the endpoint.
      model: its name, for the record.
      wording: of the request, with its placeholders.
      min_words: of a description.
      max_words: of a description.
    """

    def __init__(
        self, client: ChatClient, *, model: str, wording: str, min_words: int, max_words: int
    ) -> None:
        self._client, self._model = client, model
        self._wording, self._min_words, self._max_words = wording, min_words, max_words

    @property
    def record(self) -> dict[str, str]:
        """Who wrote."""
        return {"writer": "chat", "model": self._model}

    def write(self, ask: Ask) -> list[str] | None:
        """What the model answered; None if the job was asked to stop.

        Raises:
          UserError: the endpoint refuses, or does not answer.
        """
        said = messages(
            ask, request=self._wording, min_words=self._min_words, max_words=self._max_words
        )
        answer = self._client.ask(said)
        return None if answer is None else descriptions(answer.text, cut=answer.cut)
