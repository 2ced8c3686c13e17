"""The lines a job that writes descriptions begins and ends with."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from dreamda_jax.errors import UserError
from dreamda_jax.options.prompts import Prompts
from dreamda_jax.prompts.fill import Outcome

_EXAMPLES = 3
_NAMED = 10  # classes in an error
_TOKENS_PER_WORD = 1.4  # of English text


def start(options: Prompts, *, counts: Sequence[int], classes: str, output: Path) -> str:
    """What is about to be asked, and of whom.

    Args:
      options: section `prompts`.
      counts: descriptions that each class has.
      classes: where the classes are from.
      output: the file.
    """
    missing = [max(options.per_class - count, 0) for count in counts]
    requests = sum(math.ceil(count / options.batch) for count in missing)
    words = (options.min_words + options.max_words) / 2
    lines = [
        f"writer      {_who(options)}",
        f"classes     {len(counts):,} of {classes}",
        f"wanted      {options.per_class:,} descriptions of each, {options.min_words} to "
        f"{options.max_words} words; {sum(missing):,} are missing",
    ]
    if options.writer != "template":
        lines.append(
            f"requests    at least {requests:,}, and about "
            f"{sum(missing) * words * _TOKENS_PER_WORD:,.0f} tokens of answers"
        )
    return "\n".join([*lines, f"output      {output}"])


def end(
    outcome: Outcome, accepted: Mapping[str, Sequence[str]], *, output: Path, per_class: int
) -> str:
    """How many there are, what was refused, a few examples, and the next command."""
    lines = [
        f"done        {output}: {per_class:,} descriptions of each of {len(accepted):,} classes, "
        f"{outcome.added:,} of them now, in {outcome.requests:,} requests"
    ]
    if outcome.refused:
        lines.append(f"refused     {_counted(outcome.refused)}")
    for name, texts in list(accepted.items())[:_EXAMPLES]:
        lines.append(f"example     {name}: {texts[0]}")
    return "\n".join([*lines, next_command(output)])


def next_command(output: Path) -> str:
    """How `generate` uses the file."""
    return f"next        python -m dreamda_jax.generate --config ... --config.prompt.file={output}"


def unfinished(
    outcome: Outcome, lacking: Mapping[str, int], *, output: Path, max_attempts: int
) -> UserError:
    """The error that says which classes lack how many, and why."""
    named = []
    for name, count in list(lacking.items())[:_NAMED]:
        reasons = outcome.by_class.get(name)
        named.append(f"{name}: {count:,} ({_counted(reasons) if reasons else 'nothing came'})")
    more = f"\n  and {len(lacking) - _NAMED:,} more classes" if len(lacking) > _NAMED else ""
    tries = f"{max_attempts} requests in a row" if max_attempts > 1 else "a request"
    return UserError(
        f"{output}: {sum(lacking.values()):,} descriptions are missing; {tries} for a class "
        "brought nothing of use. What is missing, and what was refused:\n  "
        + "\n  ".join(named)
        + f"{more}\nWhat was accepted is kept: run the same command again to continue, or change "
        "the request, the model or the limits, with another config.prompts.output."
    )


def _who(options: Prompts) -> str:
    if options.writer == "chat":
        return f"{options.model} at {options.base_url}"
    return f"sentences and word lists of {options.attributes or 'the package'}"


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
