"""Which descriptions can be used, and what is wrong with the others."""

import unicodedata
from collections.abc import Container, Sequence
from typing import NamedTuple

from dreamda_jax.data.sources.labels import spoken_name
from dreamda_jax.prompts import class_words

_BETWEEN = 2  # "Audi S4 Sedan 2007" is named by "an Audi S4 sedan from 2007"
_JOINERS = "\u200c\u200d"  # some scripts need them


class Refusal(NamedTuple):
    """Why a description cannot be used."""

    reason: str
    """One of a few, to be counted."""
    words: str
    """For whoever wrote it."""


class Validator:
    """Judges descriptions of the classes of one set.

    Args:
      label_names: the classes, as the source names them.
      min_words: of a description.
      max_words: of a description.
    """

    def __init__(self, label_names: Sequence[str], *, min_words: int, max_words: int) -> None:
        self._min_words, self._max_words = min_words, max_words
        self._forms: dict[str, frozenset[class_words.Words]] = {}
        self._by_first_word: dict[str, dict[class_words.Words, list[str]]] = {}
        for name in label_names:
            parts = class_words.names(spoken_name(name))
            self._forms[name] = frozenset().union(*map(class_words.forms, parts))
            for form in self._forms[name]:
                of_word = self._by_first_word.setdefault(form[0], {})
                of_word.setdefault(form, []).append(name)

    def check(
        self, text: str, class_name: str, accepted: Container[class_words.Words] = ()
    ) -> Refusal | None:
        """None if a description of a class can be used.

        Args:
          text: the description.
          class_name: one of the set's classes.
          accepted: `class_words.words` of the class's descriptions so far; none may come twice.
        """
        count = num_words(text)
        if any(map(_is_control, text)):
            return Refusal("control characters", "it holds control characters")
        if count < self._min_words:
            return Refusal("too short", f"it has {count} words, at least {self._min_words} are due")
        if count > self._max_words:
            return Refusal("too long", f"it has {count} words, at most {self._max_words} are due")
        spelt = class_words.words(text)
        own = class_words.spans(spelt, self._forms[class_name], between=_BETWEEN)
        if not own:
            said = spoken_name(class_name)
            return Refusal("class not named", f'it does not say "{said}"')
        other = self._other_class(spelt, class_name, own)
        if other is not None:
            said = spoken_name(other)
            return Refusal("another class named", f'it speaks of "{said}", which is another class')
        if spelt in accepted:
            return Refusal("duplicate", "it was there already")
        return None

    def _other_class(
        self, text: class_words.Words, class_name: str, own: list[tuple[int, int]]
    ) -> str | None:
        """Another class that is named, elsewhere than inside this one's name."""
        for start, word in enumerate(text):
            for form, names in self._by_first_word.get(word, {}).items():
                end = start + len(form)
                inside = any(first <= start and end <= last for first, last in own)
                if inside or text[start:end] != form:
                    continue
                others = [name for name in names if name != class_name]
                if others and class_name not in names:
                    return others[0]
        return None


def num_words(text: str) -> int:
    """What stands between white space and has a letter or digit in it."""
    return sum(any(c.isalnum() for c in part) for part in text.split())


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in _JOINERS
