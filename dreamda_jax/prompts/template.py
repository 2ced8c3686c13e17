"""Descriptions from sentences and word lists: offline, at no cost, the same for the same seed."""

import hashlib
import itertools
import math
import random
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dreamda_jax.data.files import json_text, staging
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.errors import UserError
from dreamda_jax.prompts import class_words
from dreamda_jax.prompts.writer import Ask

TEMPLATES = (
    "A {style} photograph of {a_class} {outdoors} {time}, {weather}, {viewpoint}, with "
    "{background} behind it.",
    "{A_class} {outdoors}, photographed {viewpoint} {time}, {weather}, with {background} in the "
    "distance.",
    "A {style} picture that shows {a_class} {outdoors} and nothing else, {viewpoint}, {weather}, "
    "{time}.",
    "{A_class} alone {outdoors}, {weather}, {time}, seen {viewpoint} in a {style} photograph.",
    "A {style} photograph of {a_class} {indoors}, {viewpoint}, lit by {light}, with {backdrop} "
    "behind it.",
    "{A_class} {indoors}, photographed {viewpoint} and lit by {light}, with {backdrop} behind it.",
    "A {style} picture that shows {a_class} {indoors} and nothing else, {viewpoint}, lit by "
    "{light}.",
    "{A_class} alone {indoors}, lit by {light} and seen {viewpoint} in a {style} photograph.",
    "A {style} studio photograph of {a_class} against {backdrop}, {viewpoint}, lit by {light}, "
    "with soft shadows.",
    "{A_class} before {backdrop} in a {style} studio photograph, taken {viewpoint} and evenly lit "
    "by {light}.",
)
"""`{a_class}` is the class with its article, `{A_class}` at a sentence's start, `{class}` bare;
every other placeholder is a list of `LISTS`. Each makes 15 words or more."""
LISTS: dict[str, tuple[str, ...]] = {
    "style": (
        *("sharp", "candid", "crisp", "detailed", "grainy", "muted", "high-contrast", "natural"),
        *("documentary", "professional", "slightly blurred", "warm-toned", "cool-toned", "simple"),
    ),
    "outdoors": (
        *("on a gravel path", "on wet cobblestones", "in a grassy meadow", "on a sandy beach"),
        *("at the edge of a forest", "on a wooden pier", "in an empty square", "on a quiet lane"),
        *("beside a stone wall", "on a rocky hillside", "in a walled garden", "by a calm lake"),
        *("on a concrete terrace", "in a wide field", "on a riverbank", "in a narrow courtyard"),
        *("on a flat roof", "in a village market", "on a mountain pass", "on dry sand"),
        *("among fallen leaves", "on a harbour quay", "in a desert valley", "on a suburban lawn"),
    ),
    "indoors": (
        *("on a wooden floor", "in a bright kitchen", "on a plain white table", "in a workshop"),
        *("in a tidy living room", "on a woven rug", "in an empty hall", "in an old library"),
        *("beside a tall window", "in a tiled corridor", "in a dim attic", "in a large warehouse"),
        *("on a marble counter", "in a small studio", "in a museum room", "in a quiet office"),
        *("on a velvet cloth", "in a bare concrete room", "in a glass pavilion", "in a barn"),
    ),
    "time": (
        *("at dawn", "early in the morning", "late in the morning", "at noon", "at midday"),
        *("early in the afternoon", "late in the afternoon", "in the evening", "at sunset"),
    ),
    "weather": (
        *("under a clear sky", "under heavy clouds", "in light rain", "in thick fog"),
        *("in falling snow", "in still air", "after a thunderstorm", "in hazy light"),
        *("in strong wind", "under scattered clouds", "in golden light", "under an overcast sky"),
    ),
    "viewpoint": (
        *("from the front", "from the side", "from slightly above", "from a low angle"),
        *("from close up", "from a distance", "from behind", "at eye level", "from overhead"),
        *("at a three-quarter angle", "slightly off centre", "through a wide-angle lens"),
    ),
    "light": (
        *("soft daylight", "a single lamp", "candlelight", "cold fluorescent tubes"),
        *("a warm spotlight", "morning sun through blinds", "diffuse light", "hard side light"),
        *("a string of small bulbs", "a bright skylight", "dim evening light", "two softboxes"),
    ),
    "background": (
        *("a blurred landscape", "pale sky", "a dark green hedge", "a row of distant trees"),
        *("low hills", "a weathered brick wall", "an old wooden fence", "still water"),
        *("a line of rooftops", "bare branches", "a stretch of open land", "misty mountains"),
    ),
    "backdrop": (
        *("a plain grey wall", "a white backdrop", "a soft beige backdrop", "rough concrete"),
        *("old wooden boards", "peeling blue paint", "a dark curtain", "out-of-focus lights"),
        *("a pattern of shadows", "a faded mural", "a red brick wall", "pale green tiles"),
    ),
}


_CLASS = ("class", "a_class", "A_class")
_TEMPLATE = "template"


class Expander:
    """A `Writer` that fills sentences with attributes.

    The descriptions of a class are one endless draw without repetition that depends on the seed and
    the class's name only, so an interrupted job goes on where it was.

    Args:
      templates: sentences with placeholders.
      lists: what may stand for each placeholder but the class.
      seed: of the draw.
    """

    def __init__(
        self, templates: Sequence[str], lists: Mapping[str, Sequence[str]], *, seed: int
    ) -> None:
        self._seed = seed
        self._lists = lists
        # Each sentence with the lists it needs, in the order of its placeholders.
        self._templates = [(template, _slots(template)) for template in templates]
        self._streams: dict[str, Iterator[str]] = {}

    @property
    def record(self) -> dict[str, str]:
        """Who wrote."""
        return {"writer": "template"}

    @property
    def capacity(self) -> int:
        """How many different descriptions of a class there are at most."""
        sizes = ([len(self._lists[slot]) for slot in slots] for _, slots in self._templates)
        return sum(math.prod(size) for size in sizes)

    def write(self, ask: Ask) -> list[str]:
        """The next of the class's draw; fewer than asked for where no other are left."""
        stream = self._streams.get(ask.class_name)
        if stream is None:
            stream = self._streams[ask.class_name] = self._draw(ask.class_name, ask.spoken)
        known = {class_words.words(text) for text in ask.accepted}
        fresh = (text for text in stream if class_words.words(text) not in known)
        return list(itertools.islice(fresh, ask.count))

    def _draw(self, class_name: str, spoken: str) -> Iterator[str]:
        digest = hashlib.sha256(f"{self._seed} {class_name}".encode("utf-8", "surrogatepass"))
        draw = random.Random(int.from_bytes(digest.digest(), "big"))
        name = class_words.names(spoken)[0]
        with_article = class_words.with_article(name)
        of_class = {
            "class": name,
            "a_class": with_article,
            "A_class": with_article[:1].upper() + with_article[1:],
        }
        seen: set[tuple[int, ...]] = set()
        while len(seen) < self.capacity:
            # Only `random()` is promised to give the same numbers in every version of Python.
            chosen = int(draw.random() * len(self._templates))
            template, slots = self._templates[chosen]
            places = [int(draw.random() * len(self._lists[slot])) for slot in slots]
            if (key := (chosen, *places)) in seen:
                continue
            seen.add(key)
            words = {
                slot: self._lists[slot][place] for slot, place in zip(slots, places, strict=True)
            }
            yield template.format_map({**words, **of_class})


def open_expander(path: str | None, *, seed: int) -> Expander:
    """The expander with the packaged sentences and lists, or with those of a file.

    Args:
      path: a JSON object of lists of strings. "template" replaces the sentences; every other list
        replaces the packaged one of that name, or is new and for the file's own sentences.
      seed: of the draw.

    Raises:
      UserError: the file cannot be read as described, or a sentence lacks the class or has a
        placeholder for which there is no list.
    """
    given = {} if path is None else _read(path)
    templates = given.pop(_TEMPLATE, TEMPLATES)
    lists = {**LISTS, **given}
    for template in templates:
        _check(template, lists, where=path or "the packaged sentences")
    return Expander(templates, lists, seed=seed)


def _read(path: str) -> dict[str, Sequence[str]]:
    file = staging.local(path)
    try:
        content = json_text.parse(check_regular(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"attributes file {path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not all(map(_is_list_of_texts, content.values())):
        raise UserError(
            f"{path}: must be a JSON object of lists of strings, none of them empty, such as "
            '{"weather": ["in light rain", "in fog"]}'
        )
    return {name: tuple(dict.fromkeys(texts)) for name, texts in content.items()}


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _check(template: str, lists: Mapping[str, Sequence[str]], *, where: str) -> None:
    try:
        used = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise UserError(f"{where}: template {template!r} cannot be filled ({error})") from error
    unknown = [name for name in used if name not in lists and name not in _CLASS]
    if unknown:
        raise UserError(
            f"{where}: template {template!r} has the placeholder {{{unknown[0]}}}, and there is no "
            f"list of that name; there are {', '.join([*_CLASS, *lists])}"
        )
    if not set(used) & set(_CLASS):
        raise UserError(
            f"{where}: template {template!r} does not name the class: put {{a_class}}, {{A_class}} "
            "or {class} into it"
        )


def _slots(template: str) -> list[str]:
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    return list(dict.fromkeys(name for name in names if name not in _CLASS))
