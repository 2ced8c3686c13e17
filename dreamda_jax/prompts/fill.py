"""Asks, judges and keeps until every class has its descriptions."""

import collections
import dataclasses
import threading
from collections.abc import Sequence

from dreamda_jax.data.sources.labels import spoken_name
from dreamda_jax.prompts import class_words
from dreamda_jax.prompts.store import Store
from dreamda_jax.prompts.validation import Validator
from dreamda_jax.prompts.writer import Ask, Writer
from dreamda_jax.runtime.progress import Progress

SURPLUS = "more than asked for"
"""Counted as a reason of refusal, but nothing is wrong with such a description."""


@dataclasses.dataclass
class Outcome:
    """How a job went.

    Attributes:
      requests: how many were made.
      added: descriptions of this job.
      refused: how many could not be used, by reason.
      by_class: likewise, of each class.
      stopped: the job was asked to stop, with work left.
    """

    requests: int = 0
    added: int = 0
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    by_class: dict[str, collections.Counter[str]] = dataclasses.field(default_factory=dict)
    stopped: bool = False


def fill(
    store: Store,
    writer: Writer,
    validator: Validator,
    *,
    per_class: int,
    batch: int,
    max_misses: int,
    stop: threading.Event,
    progress: Progress,
) -> Outcome:
    """Asks for what is missing, class by class.

    A class is given up after `max_misses` requests in a row of which nothing could be used; the
    others go on.

    Args:
      store: keeps what is accepted.
      writer: is asked.
      validator: judges.
      per_class: descriptions of each class.
      batch: the most asked for at once.
      max_misses: requests in a row that bring nothing.
      stop: when set, no further request is made.
      progress: counts descriptions.

    Raises:
      UserError: the writer cannot go on, or the disk is full.
    """
    outcome = Outcome()
    for class_name, accepted in store.accepted.items():
        seen = {class_words.words(text) for text in accepted}
        refused: tuple[str, ...] = ()
        misses = 0
        while len(accepted) < per_class and misses < max_misses:
            ask = Ask(
                class_name=class_name,
                spoken=spoken_name(class_name),
                count=min(batch, per_class - len(accepted)),
                accepted=tuple(accepted),
                refused=refused,
                misses=misses,
            )
            texts = None if stop.is_set() else writer.write(ask)
            if texts is None:
                outcome.stopped = True
                return outcome
            outcome.requests += 1
            before = len(accepted)
            refused = _take(store, writer, validator, ask, texts, seen, outcome)
            added = len(accepted) - before
            outcome.added += added
            misses = 0 if added else misses + 1
            if added:
                progress.add(added, note=class_name)
    return outcome


def lacking(store: Store, per_class: int) -> dict[str, int]:
    """How many descriptions a class lacks, for those that lack any."""
    counts = {name: per_class - len(texts) for name, texts in store.accepted.items()}
    return {name: count for name, count in counts.items() if count > 0}


def _take(
    store: Store,
    writer: Writer,
    validator: Validator,
    ask: Ask,
    texts: Sequence[str],
    seen: set[class_words.Words],
    outcome: Outcome,
) -> tuple[str, ...]:
    """Keeps what can be used, and says what was wrong with the rest."""
    taken, complaints = 0, []
    reasons = outcome.by_class.setdefault(ask.class_name, collections.Counter())
    for text in texts:
        if taken == ask.count:
            outcome.refused[SURPLUS] += 1
            continue
        refusal = validator.check(text, ask.class_name, seen)
        if refusal is not None:
            outcome.refused[refusal.reason] += 1
            reasons[refusal.reason] += 1
            complaints.append(refusal.words)
            continue
        store.add(ask.class_name, text, writer.record)
        seen.add(class_words.words(text))
        taken += 1
    if len(texts) < ask.count:
        complaints.append(f"{ask.count} were asked for, and {len(texts)} came")
    return tuple(complaints)
