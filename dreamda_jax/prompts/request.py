"""What is said to a language model."""

from collections.abc import Sequence

from dreamda_jax.prompts.writer import Ask

_FORM = (
    "Give one description per line, numbered from 1, and nothing else. Each is one complete "
    'sentence of at most {max_words} words that says "{class}" in these very words. '
    "Name no other object of interest."
)
_SHOWN = 5
_SHOWN_REASONS = 3


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
