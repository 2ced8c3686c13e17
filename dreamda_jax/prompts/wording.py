"""What is said to a language model, and the descriptions in what it answers."""

import json
import re
from collections.abc import Sequence
from typing import Any

from dreamda_jax.prompts.writer import Ask

_FORM = (
    "Give one description per line, numbered from 1, and nothing else. Each is one complete "
    'sentence of at most {max_words} words that says "{class}" in these very words. '
    "Name no other object of interest."
)
_SHOWN = 5
_SHOWN_REASONS = 3


_THOUGHTS = re.compile(r"<think>.*?(</think>|\Z)", re.S | re.I)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|\Z)", re.S)
_MARK = re.compile(r"^\s*(?:[-*•–]\s+|\(?\d{1,4}[.):]\)?\s*)(?=[^\s\d]|(?<=\s)\S)")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "*": "*", "`": "`"}


def messages(ask: Ask, *, request: str, min_words: int, max_words: int) -> list[dict[str, str]]:
    """The messages of one request, in OpenAI's form.

    The wording, the form of the answer, the latest descriptions of the class (which are not to be
    repeated), and what was wrong with the answer before.

    Args:
      ask: which class, and how many.
      request: the wording, with its placeholders.
      min_words: of a description.
      max_words: of a description.
    """
    values = {
        "count": ask.count,
        "class": ask.spoken,
        "words": min_words,
        "max_words": max_words,
    }
    parts = [request.format_map(values), _FORM.format_map(values)]
    if ask.accepted:
        parts.append("These are there already; write others:\n" + _listed(ask.accepted[-_SHOWN:]))
    if ask.refused:
        reasons = list(dict.fromkeys(ask.refused))[:_SHOWN_REASONS]
        parts.append("Of your last answer some could not be used:\n" + _listed(reasons))
    return [{"role": "user", "content": "\n\n".join(parts)}]


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def descriptions(text: str, *, cut: bool = False) -> list[str]:
    """The descriptions in an answer, in its order.

    A JSON array (of strings, or of objects that hold one), also as a value of an object or inside
    a ``` fence; else one a line. If any line is numbered or has a bullet, the others are talk and
    are left out. Quotation marks, Markdown's emphasis and what is between <think> tags go; runs of
    white space become one space.

    Args:
      text: the answer.
      cut: it ended in the middle, so its last description is not whole.
    """
    text = _THOUGHTS.sub("", text).strip()
    fenced = [block.strip() for block in _FENCE.findall(text)]
    body = "\n".join(block for block in fenced if block) or _FENCE.sub("", text)
    found = _from_json(body)
    if found is None:
        found = _from_lines(body)
        found = found[:-1] if cut else found
    return [clean for clean in map(_clean, found) if clean]


def _from_json(text: str) -> list[str] | None:
    """None if the text is not JSON, nor the beginning of any."""
    start = re.search(r"[\[{]", text)
    if start is None or (start.start() and not text[: start.start()].rstrip().endswith(":")):
        return None
    body = text[start.start() :]
    try:
        value, _ = json.JSONDecoder().raw_decode(body)
    except (ValueError, RecursionError):
        # Cut off, or with a stray comma. In an object keys would be taken for descriptions.
        if not re.match(r"\[\s*\"", body):
            return None
        return [_unescaped(match) for match in _STRING.findall(body)]  # those that are whole
    return _strings(value)


def _unescaped(body: str) -> str:
    try:
        return str(json.loads(f'"{body}"', strict=False))
    except ValueError:
        return body


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _item(item)]
    if isinstance(value, dict):
        lists = [entry for entry in value.values() if isinstance(entry, list)]
        if lists:
            return _strings(lists[0])
        return [entry for entry in value.values() if isinstance(entry, str)]
    return []


def _item(item: Any) -> list[str]:
    if isinstance(item, str):
        return [item]
    if isinstance(item, dict):
        texts = [entry for entry in item.values() if isinstance(entry, str)]
        return [max(texts, key=len)] if texts else []  # beside it may be a title or the class
    return []


def _from_lines(text: str) -> list[str]:
    # Not str.splitlines, which also cuts at U+2028 and the like.
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    marked = [line for line in lines if _MARK.match(line)]
    if marked:
        return [_MARK.sub("", line) for line in marked]
    return [line for line in lines if not line.rstrip().endswith(":")]


def _clean(text: str) -> str:
    text = " ".join(text.replace("**", "").split())
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return text
