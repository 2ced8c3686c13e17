"""One question to an OpenAI-compatible endpoint (`POST …/chat/completions`), asked until answered.

The key goes into the header of the request and nowhere else: whatever the server or the HTTP
library says is cleared of it before it is shown.
"""

import email.utils
import math
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import requests

from dreamda_jax.data.files import json_text
from dreamda_jax.errors import UserError
from dreamda_jax.printable import hide, masked, printable

_CONNECT_SECONDS = 15.0
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
_LONGEST_RETRY_AFTER_SECONDS = 300.0
_MAX_BYTES = 16_000_000
_PIECE_BYTES = 512  # small: a piece that trickles in is waited for as a whole
_QUOTED = 400  # characters of what a server said
_AGAIN = (408, 409, 425, 429)  # and all from 500 on
_SPENT = ("insufficient_quota", "billing_hard_limit_reached")  # 429 for ever

_T = TypeVar("_T")

Wait = Callable[[float], bool]
"""`wait(seconds)`: True if the job was asked to stop meanwhile."""


class Answer(NamedTuple):
    """What a model said."""

    text: str
    cut: bool
    """It reached a limit of length and ended in the middle."""


class _Again(Exception):
    """Another try may succeed; `wait` is what the server asked for, in seconds."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


class ChatClient:
    """A model behind an endpoint.

    Args:
      base_url: such as "https://api.openai.com/v1".
      model: by the endpoint's name for it.
      key_variable: environment variable with the key; without a value none is sent.
      temperature: of sampling.
      timeout: seconds to wait for an answer, until its last byte.
      max_attempts: tries of one question.
      wait: between them.
      report: is told why, and for how long.

    Raises:
      UserError: the key holds what no key can.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_variable: str,
        temperature: float,
        timeout: float,
        max_attempts: int,
        wait: Wait,
        report: Callable[[str], None],
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._model, self._temperature = model, temperature
        self._timeout, self._max_attempts, self._wait = timeout, max_attempts, wait
        self._report, self._key_variable = report, key_variable
        self._key = os.environ.get(key_variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable() and " " not in self._key):
            raise UserError(
                f"the environment variable {key_variable} holds spaces or special characters, "
                "which no key has: set it to the key alone"
            )
        self._instead = f"[{key_variable}]"
        hide(self._key, self._instead)  # in what anybody prints, such as a traceback
        self._session = requests.Session()

    def ask(self, messages: Sequence[Mapping[str, str]]) -> Answer | None:
        """The model's answer; None if the job was asked to stop before it came.

        Tried again after waits that double, with jitter, or as long as the server asks for: no
        connection, no answer in time, 408, 409, 425, 429 and 5xx, an answer that is cut off, is no
        JSON or lacks what it must hold.

        Raises:
          UserError: the server refuses, or no try succeeded.
        """
        for attempt in range(1, self._max_attempts + 1):
            try:
                return self._ask_once(messages)
            except _Again as error:
                if attempt == self._max_attempts:
                    raise UserError(
                        f"{self._url}: no answer of use in {attempt} tries; the last: {error}. "
                        "What was written so far is kept: run the same command again to continue."
                    ) from None
                pause = _pause(attempt) if error.wait is None else error.wait
                self._report(f"waiting     {pause:.1f} s before another try: {error}")
                if self._wait(pause):
                    return None
        raise AssertionError("every try returns or raises")

    def _ask_once(self, messages: Sequence[Mapping[str, str]]) -> Answer:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "temperature": self._temperature,
        }
        try:
            response, content = self._within_timeout(lambda ended: self._post(body, ended))
        except (requests.Timeout, TimeoutError):
            raise _Again(f"no answer within {self._timeout:g} s") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise _Again(f"the connection failed ({self._shown(_root_cause(error))})") from None
        except requests.RequestException as error:
            raise UserError(f"{self._url}: {self._shown(error)}") from None
        if response.status_code != 200:
            raise self._failure(response, content)
        return self._without_key(_answer(content))

    def _within_timeout(self, post: Callable[[threading.Event], _T]) -> _T:
        """What `post(ended)` returns, in `timeout` seconds from the first look-up to the last byte.

        requests limits each pause and not their sum: a server that sends its headers byte by byte
        would be listened to for hours. So it is asked in a thread, which is left to itself when its
        time is over and `ended` is set.

        Raises:
          TimeoutError: the time is over.
        """
        ended = threading.Event()
        outcome: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

        def work() -> None:
            try:
                outcome.put((post(ended), None))
            except BaseException as error:
                outcome.put((None, error))

        threading.Thread(target=work, name="question", daemon=True).start()
        try:
            result, error = outcome.get(timeout=self._timeout)
        except queue.Empty:
            raise TimeoutError from None
        finally:
            ended.set()
        if error is not None:
            raise error
        return cast(_T, result)

    def _post(
        self, body: Mapping[str, Any], ended: threading.Event
    ) -> tuple[requests.Response, bytes]:
        with self._session.post(
            self._url,
            json=body,
            auth=self._authorize,
            timeout=(min(_CONNECT_SECONDS, self._timeout), self._timeout),
            allow_redirects=False,  # the key is for this address
            stream=True,
        ) as response:
            return response, _read(response, ended)

    def _without_key(self, answer: Answer) -> Answer:
        """Leaves out lines in which a server repeats the key: they would end up in the output."""
        if not self._key or self._key not in answer.text:
            return answer
        lines = [line for line in answer.text.splitlines() if self._key not in line]
        return answer._replace(text="\n".join(lines))

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Given even without a key: else requests would look for a password in ~/.netrc.
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _failure(self, response: requests.Response, content: bytes) -> Exception:
        said, code = _server_message(content)
        status = response.status_code
        what = f"{status} {self._shown(response.reason or '')}".strip()
        what += f": {self._shown(said)}" if said else ""
        if (status in _AGAIN or status >= 500) and code not in _SPENT:
            wait = seconds_to_wait(response.headers.get("Retry-After"), time.time())
            return _Again(what, None if wait is None else min(wait, _LONGEST_RETRY_AFTER_SECONDS))
        return UserError(f"{self._url} refuses: {what}{self._hint(status)}")

    def _hint(self, status: int) -> str:
        if status in (401, 403) and not self._key:
            return (
                f" (the environment variable {self._key_variable} is not set, so no key was sent)"
            )
        if status in (401, 403):
            return f" (the key is that of the environment variable {self._key_variable})"
        if status == 404:
            return f" (is config.prompts.model={self._model!r} known there, and the address right?)"
        if 300 <= status < 400:
            return " (it points to another address: give that as config.prompts.base_url)"
        return ""

    def _shown(self, said: object) -> str:
        text = printable(" ".join(masked(str(said), {self._key: self._instead}).split()))
        return text if len(text) <= _QUOTED else f"{text[:_QUOTED]} …"


def _read(response: requests.Response, ended: threading.Event) -> bytes:
    """The body, or an exception once nobody waits for it any more."""
    content = bytearray()
    for piece in response.iter_content(chunk_size=_PIECE_BYTES):
        content += piece
        if ended.is_set():
            raise TimeoutError
        if len(content) > _MAX_BYTES:
            raise _Again(f"an answer of more than {_MAX_BYTES:,} bytes")
    return bytes(content)


def _answer(content: bytes) -> Answer:
    try:
        choice = json_text.parse(content)["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, RecursionError):
        raise _Again("an answer that is cut off, or no JSON") from None
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _Again("an answer without choices[0].message.content") from None
    if isinstance(text, list):  # parts, as some servers send
        parts = [part.get("text") for part in text if isinstance(part, dict)]
        text = "".join(part for part in parts if isinstance(part, str))
    if text is None and finish in ("length", "content_filter"):
        text = ""
    if not isinstance(text, str):
        raise _Again("an answer without text")
    return Answer(text, cut=finish == "length")


def _server_message(content: bytes) -> tuple[str, str | None]:
    """What a server says of a failure, and its code: OpenAI's form, FastAPI's, or plain text."""
    text = content.decode(errors="replace")
    try:
        value: Any = json_text.parse(text)
    except (ValueError, RecursionError):
        return text, None
    inner = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(inner, dict):
        said = inner.get("message") or inner.get("detail") or text
        return str(said), str(inner.get("code") or inner.get("type") or "") or None
    return str(inner), None


def _root_cause(error: BaseException) -> object:
    """The innermost reason: the outer layers repeat the address and their own names."""
    reason: Any = error
    while True:
        inner = getattr(reason, "reason", None) or next(
            (part for part in getattr(reason, "args", ()) if isinstance(part, Exception)), None
        )
        if inner is None or isinstance(inner, str):
            return reason
        reason = inner


def _pause(attempt: int) -> float:
    longest = min(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1), _LONGEST_WAIT_SECONDS)
    return longest * random.uniform(
        0.5, 1.0
    )  # so that clients that failed together do not return so


def seconds_to_wait(header: str | None, now: float) -> float | None:
    """Seconds from now on; None if the header is absent or says nothing that can be read.

    Args:
      header: seconds, or a date.
      now: seconds since the epoch.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
