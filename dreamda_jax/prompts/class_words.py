"""Class names inside a text: as words, in the singular and the plural, and with what article."""

import re
import unicodedata

Words = tuple[str, ...]

_WORD = re.compile(r"[^\W_]+")
_PLURALS = {
    **{"man": "men", "woman": "women", "child": "children", "person": "people"},
    **{"mouse": "mice", "goose": "geese", "foot": "feet", "tooth": "teeth", "ox": "oxen"},
}
_SINGULARS = {plural: singular for singular, plural in _PLURALS.items()}
_PAIRS = frozenset(
    (
        *("trousers", "pants", "jeans", "shorts", "tights", "leggings", "glasses", "sunglasses"),
        *("goggles", "scissors", "pliers", "tweezers", "binoculars", "headphones", "earphones"),
        *("pyjamas", "pajamas", "shoes", "boots", "sandals", "sneakers", "slippers", "socks"),
        *("gloves", "mittens", "skis"),
    )
)
_SINGULAR_IN_S = frozenset(
    (
        *("lens", "gas", "canvas", "atlas", "christmas", "bias", "pancreas", "texas", "corps"),
        *("series"),
    )
)
# Spelt with a vowel but spoken with a consonant, and the other way round.
_SPOKEN_WITH_CONSONANT = re.compile(r"(?:eu|ew|uni(?!n|m)|us[ae]|uk|ut[ie]|ur[ao]|ufo|one|once)")
_SPOKEN_WITH_VOWEL = re.compile(r"(?:hour|honest|honou?r|heir|8|11(?!\d)|18(?!\d))")
_LETTERS_WITH_VOWEL = "AEFHILMNORSX"


def words(text: str) -> Words:
    """Letters and digits in runs, without regard to case: "T-shirt's" is t, shirt, s."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def names(spoken: str) -> tuple[str, ...]:
    """A class's names: those between commas or slashes stand for themselves.

    "tench, Tinca tinca" has two and "T-shirt/top" too, but not "Ram C/V Cargo Van".
    """
    parts = [part.strip() for part in re.split(r",|(?<=\w\w)/(?=\w\w)", spoken)]
    kept = tuple(part for part in parts if words(part))
    return kept or (spoken,)


def forms(name: str) -> frozenset[Words]:
    """How a name may be written: its last word in the singular or the plural, or as one word."""
    base = words(name)
    if not base:
        return frozenset()
    found = {(*base[:-1], last) for last in _numbers(base[-1])}
    return frozenset(found | {("".join(form),) for form in found})


def spans(text: Words, spelt: frozenset[Words], *, between: int = 0) -> list[tuple[int, int]]:
    """Where in a text one of the forms stands, as [start, end) in words.

    Args:
      text: of `words`.
      spelt: of `forms`.
      between: at most so many other words may stand between two of the name's.
    """
    found = []
    for form in spelt:
        starts = [start for start, word in enumerate(text) if word == form[0]]
        ends = [(start, _end(text, form, start, between)) for start in starts]
        found += [(start, end) for start, end in ends if end is not None]
    return found


def _end(text: Words, form: Words, start: int, between: int) -> int | None:
    place = start
    for wanted in form[1:]:
        window = text[place + 1 : place + 2 + between]
        if wanted not in window:
            return None
        place += 1 + window.index(wanted)
    return place + 1


def with_article(name: str) -> str:
    """A name as the object of a sentence: "an ankle boot", "a pair of trousers", "flowers"."""
    last = words(name)[-1] if words(name) else ""
    if last in _PAIRS:
        return f"a pair of {name}"
    if last in _SINGULARS or _is_plural(last):
        return name
    return f"{article(name)} {name}"


def article(name: str) -> str:
    """Either "a" or "an", by how the first word is spoken."""
    first = name.split()[0] if name.split() else name
    letters = re.sub(r"[^A-Za-z0-9].*", "", first)
    spelt_out = letters.isupper() and (len(letters) <= 3 or any(c.isdigit() for c in letters))
    if spelt_out and letters[0].isalpha():  # an SUV, a BMW, an S4
        return "an" if letters[0] in _LETTERS_WITH_VOWEL else "a"
    lower = letters.lower()
    if _SPOKEN_WITH_VOWEL.match(lower):
        return "an"
    return "an" if lower[:1] in tuple("aeiou") and not _SPOKEN_WITH_CONSONANT.match(lower) else "a"


def _numbers(word: str) -> set[str]:
    """A word in the singular and the plural, where either is a guess that hurts nobody."""
    found = {word, f"{word}s"}
    if re.search(r"(s|x|z|ch|sh|o)$", word):
        found.add(f"{word}es")
    if re.search(r"[^aeiou]y$", word):
        found.add(f"{word[:-1]}ies")
    if re.search(r"(f|fe)$", word):
        found.add(re.sub(r"fe?$", "ves", word))
    if word in _PLURALS:
        found.add(_PLURALS[word])
    if word in _SINGULARS:
        found.add(_SINGULARS[word])
    if _is_plural(word) or word in _PAIRS:
        found.add(word[:-1])
        if word.endswith("ies") and len(word) > 4:
            found.add(f"{word[:-3]}y")
        if re.search(r"(s|x|z|ch|sh)es$", word):
            found.add(word[:-2])
    return found


def _is_plural(word: str) -> bool:
    ends = word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return ends and len(word) > 3 and word not in _SINGULAR_IN_S
