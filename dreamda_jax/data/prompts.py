"""Which prompt a variant is made with: a template, or prompts from a file."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from dreamda_jax.data.files import json_text, staging
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.data.sources.labels import spoken_name
from dreamda_jax.errors import UserError


class Subject(Protocol):
    """What a prompt is chosen for: a seed image (`loader.Seed`, `sources.Example`)."""

    @property
    def index(self) -> int:
        """Its place in the source: the seed image id."""

    @property
    def name(self) -> str:
        """Its file name, or what stands for one."""

    @property
    def label(self) -> int:
        """Its class."""

    @property
    def text(self) -> str | None:
        """Its caption, if it has one."""


ChoosePrompt = Callable[[Subject, int], str]
"""`choose(seed, variant)`: the prompt of one variant of one seed image."""


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Prompts of images and classes: a `ChoosePrompt`.

    Attributes:
      label_names: the classes.
      from_template: a prompt for each class.
      by_image: given prompts, by the image's name.
      by_class: given prompts, by the class's name.
      draw_seed: of the order in which an image takes the prompts of its class.
    """

    label_names: tuple[str, ...]
    from_template: list[str]
    by_image: dict[str, list[str]]
    by_class: dict[str, list[str]]
    draw_seed: int = 0

    def __call__(self, seed: Subject, variant: int) -> str:
        """The prompt of one variant of an image.

        Prompts of the image itself are taken in turn. Those of its class are drawn without
        repetition, in an order of the image's own, so that all are used however few variants there
        are.
        """
        prompts = self.of_image(seed.label, seed.name, seed.text)
        place = variant % len(prompts)
        if prompts is self.by_class.get(self.label_names[seed.label]):
            generator = np.random.default_rng([self.draw_seed, seed.index])
            place = generator.permutation(len(prompts))[place]
        return prompts[place]

    def about(self) -> str:
        """What a file gave, for a person."""
        count = sum(map(len, self.by_class.values())) + sum(map(len, self.by_image.values()))
        lacking = [name for name in self.label_names if name not in self.by_class]
        covered = f"{len(self.label_names) - len(lacking)} of {len(self.label_names)} classes"
        images = f" and {len(self.by_image):,} images" if self.by_image else ""
        rest = ""
        if lacking and not self.by_image:
            shown = ", ".join(lacking[:3]) + (", …" if len(lacking) > 3 else "")
            rest = f"; the template's for {shown}"
        return f"{count:,} for {covered}{images}{rest}"

    def of_image(self, label: int, name: str, text: str | None) -> list[str]:
        """All prompts of an image, at least one."""
        prompts = self.by_image.get(name)
        if prompts is None and text is not None:
            return [text]
        return prompts or self.by_class.get(self.label_names[label]) or [self.from_template[label]]


def open_prompts(
    label_names: tuple[str, ...],
    /,
    *,
    template: str = "A photo of a {class}",
    file: str | None = None,
) -> Prompts:
    """Decides every variant's prompt.

    In this order: the file's prompts for that image, the image's own caption (`text` of its
    metadata), the file's prompts for its class, the template. Several prompts for one image or
    class are shared out among the variants (`Prompts.__call__`).

    Args:
      label_names: the classes, as the source names them.
      template: with `{class}` where the class name goes, or without.
      file: jsonl, each line `{"file_name": …, "prompt": …}` or `{"class": …, "prompt": …}`; None:
        none.

    Raises:
      UserError: the template has another placeholder, or the file cannot be read as described.
    """
    from_template = class_prompts(label_names, template)
    by_image: dict[str, list[str]] = {}
    by_class: dict[str, list[str]] = {}
    if file is not None:
        _read(staging.local(file), label_names, by_image, by_class)
        if not by_image and not by_class:
            raise UserError(
                f"prompt file {file} holds no prompt: run what writes it until it is done, or "
                "leave prompt.file out"
            )
    return Prompts(label_names, from_template, by_image, by_class)


def class_prompts(label_names: Sequence[str], template: str) -> list[str]:
    """A prompt for each class; `{class}` in the template becomes the class's name as it is spoken.

    Raises:
      UserError: the template has another placeholder.
    """
    return fill_template(template, [spoken_name(name) for name in label_names])


def fill_template(template: str, words: Sequence[str]) -> list[str]:
    """The template with `{class}` replaced by each of the words.

    Raises:
      UserError: the template has another placeholder.
    """
    try:
        return [template.format_map({"class": word}) for word in words]
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"prompt template {template!r}: the only placeholder is {{class}} ({error})"
        ) from error


def _read(
    path: pathlib.Path,
    label_names: tuple[str, ...],
    by_image: dict[str, list[str]],
    by_class: dict[str, list[str]],
) -> None:
    try:
        lines = check_regular(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"prompt file {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json_text.parse(line)
            prompt = entry["prompt"]
            target, key = (by_image, "file_name") if "file_name" in entry else (by_class, "class")
            target.setdefault(entry[key], []).append(str(prompt))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}, line {number}: each line must be a JSON object with `prompt` and either "
                f"`file_name` or `class` ({type(error).__name__}: {error})"
            ) from error
    strangers = sorted(set(by_class) - set(label_names))
    if strangers:
        raise UserError(
            f"{path}: unknown class {strangers[0]!r}; the data set has {', '.join(label_names)}"
        )
