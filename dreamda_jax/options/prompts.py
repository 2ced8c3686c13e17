"""Section `prompts` as checked values."""

import dataclasses
import math
import re
import urllib.parse
from typing import Literal

PLACEHOLDERS = ("count", "class", "words", "max_words")
"""What a request's wording may hold in braces."""

REQUEST = (
    "Please write {count} different descriptions of photographs. Each photograph shows only the "
    'class "{class}" in a random scene. Each description has at least {words} words.'
)
"""After DreamDA's: at least 15 words, only that class, a random scene (arXiv 2403.12803)."""


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Who writes the descriptions, how many, and what they must be like."""

    writer: Literal["chat", "template"] = "chat"
    """Who writes: "chat" (an OpenAI-compatible endpoint, hosted or on this machine) or "template"
    (sentences and word lists, offline)."""
    per_class: int = 20
    """Descriptions of each class."""
    output: str = "runs/prompts.jsonl"
    """The jsonl file; continued if the same settings made it."""
    classes: str | None = None
    """Text file with one class name a line; None: the classes of section `source`."""
    base_url: str = "https://api.openai.com/v1"
    """Of the endpoint, such as http://localhost:8000/v1."""
    model: str | None = None
    """By the endpoint's name for it."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the endpoint's key; it need not be set."""
    request: str | None = None
    """The wording, with `{count}`, `{class}`, `{words}` and `{max_words}`; None: `REQUEST`."""
    batch: int = 20
    """Descriptions asked for in one request."""
    min_words: int = 15
    """Of a description."""
    max_words: int = 50
    """Of a description; 50 fit into CLIP's 77 tokens."""
    temperature: float = 1.0
    """Of sampling."""
    timeout: float = 120.0
    """Seconds to wait for an answer, until its last byte."""
    max_attempts: int = 5
    """Tries of a request that fails, and requests in a row for one class that bring nothing of
    use."""
    seed: int = 0
    """Of "template"."""
    attributes: str | None = None
    """JSON file with sentences and word lists in place of those of "template"."""

    def __post_init__(self) -> None:
        for name in ("per_class", "batch", "min_words", "max_attempts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_words < self.min_words:
            raise ValueError(f"max_words={self.max_words} is below min_words={self.min_words}")
        if not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature must be in [0, 2], got {self.temperature}")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise ValueError(f"timeout must be a positive number of seconds, got {self.timeout}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2^32), got {self.seed}")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_variable):
            # Not quoted: it may be the key itself.
            raise ValueError(
                "key_variable is the name of an environment variable, such as OPENAI_API_KEY, and "
                "never the key itself"
            )
        if self.writer == "chat":
            if not self.model:
                raise ValueError("writer='chat' needs a model")
            _check_address(self.base_url)
        _check_request(self.wording)

    @property
    def wording(self) -> str:
        """Of a request, with its placeholders."""
        return self.request or REQUEST


def _check_address(base_url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(base_url)
        host = parts.hostname
        parts.port  # noqa: B018  # raises what is no port
    except ValueError as error:
        raise ValueError("base_url is not an address such as http://localhost:8000/v1") from error
    if "@" in parts.netloc or parts.query or parts.fragment:
        # Not quoted: it may hold a key, and the configuration is written down.
        raise ValueError(
            "base_url must hold neither a user name or password nor anything from '?' on; a key "
            "belongs into the environment variable that key_variable names"
        )
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(
            f"base_url must be an address such as http://localhost:8000/v1, got {base_url!r}"
        )


def _check_request(request: str) -> None:
    try:
        request.format_map(dict.fromkeys(PLACEHOLDERS, ""))
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise ValueError(f"request may hold only {known} in braces ({error})") from error
    if "{class}" not in request:
        raise ValueError("request must say which class is meant: it lacks {class}")
