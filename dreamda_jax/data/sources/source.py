"""Where labelled images come from: the one interface, and the way to open a source by name.

A source is random access and picklable, so that Grain's worker processes can read it. It never
decodes: `Example.content` is a path, encoded bytes or raw pixels, and `transforms.decode_image`
turns any of them into an array.
"""

import difflib
import hashlib
import inspect
import json
import operator
import pathlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, SupportsIndex

import numpy as np

from dreamda_jax.data.files.object_store import is_remote
from dreamda_jax.errors import UserError


class Example(NamedTuple):
    """One labelled image, not yet decoded."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a record
    """Its place in the source's fixed order: the *seed image id*, from which randomness derives."""
    name: str
    """File name or TFDS id, printable, for messages."""
    label: int
    """0 <= label < len(source.label_names)."""
    content: pathlib.Path | bytes | np.ndarray
    """A file, encoded bytes, or uint8 pixels [h, w, 3]."""
    text: str | None = None
    """The image's own caption where the source has one."""


class Source(Protocol):
    """A labelled image set with random access, picklable, in an order that never changes."""

    @property
    def name(self) -> str:
        """Short slug such as "fashion20"; the output data set is named after it."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names; an example's label is an index into them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> Example: ...

    def fingerprint(self) -> str:
        """Sha256 (hex) of the listing: names, labels, captions, label names, split."""


def open_source(kind: str, **options) -> Source:
    """Opens a labelled image set.

    Args:
      kind: "sample" (the packaged fashion20), "folder" (any image folder) or "tfds" (a prepared
        TensorFlow Datasets set).
      **options: of the kind chosen. sample: `split`. folder: `path`, `label_pattern`,
        `label_names`. tfds: `name`, `split`, `data_dir`, `image_key`, `label_key`. See
        `sample_source.SampleSource`, `folder.open_folder` and `tfds_source.open_tfds`.

    Returns:
      A `Source`.

    Raises:
      UserError: unknown kind or option, or anything wrong with the data (what, where, what to do).
    """
    # Imported here because each of them imports this module, and so that an image folder can be
    # read without paying for tensorflow_datasets.
    from dreamda_jax.data.sources.folder import open_folder
    from dreamda_jax.data.sources.sample_source import SampleSource
    from dreamda_jax.data.sources.tfds_source import open_tfds

    openers: dict[str, Callable[..., Source]] = {
        "sample": SampleSource,
        "folder": open_folder,
        "tfds": open_tfds,
    }
    if kind not in openers:
        raise UserError(
            f"Unknown kind of data source {kind!r}{nearest(str(kind), openers)}. "
            f"Choose one of: {', '.join(openers)}."
        )
    opener = openers[kind]
    signature = inspect.signature(opener)
    accepted = list(signature.parameters)
    for option in options:
        if option not in accepted:
            raise UserError(
                f"A data source of kind {kind!r} has no option {option!r}"
                f"{nearest(option, accepted)}. Its options: {', '.join(accepted)}."
            )
    for option, parameter in signature.parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise UserError(f"A data source of kind {kind!r} needs the option {option!r}.")
    return opener(**options)


def overridden(source: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The options of another set, given as what differs from section "source".

    Args:
      source: the options of the source.
      fields: of the other set. What is empty is not given: on the command line None cannot be said.
        With a `kind` of its own nothing is taken from `source`. A folder has neither `split` nor
        `name`, which a configuration may have given to a set of another kind.

    Returns:
      For `open_source`; empty if no field is given.
    """
    given = {name: value for name, value in fields.items() if value}
    if not given:
        return {}
    options = given if "kind" in given else {**source, **given}
    apart = ("split", "name") if given.get("kind") == "folder" else ()
    return {name: value for name, value in options.items() if name not in apart}


def refuse_output_inside(source: Source, output: str) -> None:
    """Keeps what a run writes out of the folder that its images come from.

    Raises:
      UserError: its pictures would be images of that set the next time.
    """
    root = getattr(source, "root", None)
    if is_remote(output):
        return
    if root is not None and pathlib.Path(output).resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"{output} lies in the image folder {root}: what is written there would be taken for "
            "images or classes of it. Give another directory."
        )


class Spread:
    """So many examples of a source, evenly spread over it, so that sorted classes all appear.

    Args:
      source: the whole set.
      count: how many; at most its length. They are numbered 0 … count-1.
    """

    def __init__(self, source: Source, count: int) -> None:
        self._source, self._count = source, count
        self.name, self.label_names = source.name, source.label_names
        self.ignored: tuple[str, ...] = getattr(source, "ignored", ())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: SupportsIndex) -> Example:
        place = checked_index(index, self._count)
        example = self._source[place * len(self._source) // self._count]
        return example._replace(index=place)

    def fingerprint(self) -> str:
        """The whole source's, and how many are taken."""
        return f"{self._source.fingerprint()}/{self._count}"


def nearest(word: str, candidates: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the candidate most like `word`, or an empty string."""
    matches = difflib.get_close_matches(word, list(candidates), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def checked_index(index: SupportsIndex, length: int) -> int:
    """`index` as a plain int with 0 <= index < length.

    Raises:
      IndexError: outside of that range. Negative indices too: an index is a seed image id, and
        two ids for one image would give it two random streams.
    """
    place = operator.index(index)
    if not 0 <= place < length:
        raise IndexError(f"example {place} of {length}")
    return place


def listing_fingerprint(
    header: dict[str, object], rows: Iterable[tuple[str, int, str | None]]
) -> str:
    """Sha256 (hex) of a listing, the same on every machine and file system.

    Args:
      header: what belongs to the whole listing, e.g. the split; JSON-serialisable.
      rows: (name, label, caption) of each example, in order.
    """
    digest = hashlib.sha256()

    def add(item: object) -> None:
        # macOS may hand back decomposed file names; composing them makes both sides agree.
        # ASCII-only JSON keeps lone surrogates (file names that are not UTF-8) hashable.
        text = json.dumps(item, ensure_ascii=False, sort_keys=True)
        digest.update(json.dumps(unicodedata.normalize("NFC", text)).encode("ascii") + b"\n")

    add(header)
    for name, label, text in rows:
        add([name, int(label), text])
    return digest.hexdigest()
