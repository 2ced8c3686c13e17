"""Which prompt a variant is made with: a template, or prompts from a file."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence

from dreamda_jax.data import staging
from dreamda_jax.data.labels import spoken_name
from dreamda_jax.errors import UserError

ChoosePrompt = Callable[[int, str, str | None, int], str]
"""`choose(label, name, text, variant)`: the prompt of one variant of one seed image."""


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Prompts of images and classes: a `ChoosePrompt`.

    Attributes:
      label_names: the classes.
      from_template: a prompt for each class.
      by_image: given prompts, by the image's name.
      by_class: given prompts, by the class's name.
    """

    label_names: tuple[str, ...]
    from_template: list[str]
    by_image: dict[str, list[str]]
    by_class: dict[str, list[str]]

    def __call__(self, label: int, name: str, text: str | None, variant: int) -> str:
        """The prompt of one variant of an image: its prompts are taken in turn."""
        prompts = self.of_image(label, name, text)
        return prompts[variant % len(prompts)]

    def of_image(self, label: int, name: str, text: str | None) -> list[str]:
        """All prompts of an image, at least one."""
        prompts = self.by_image.get(name)
        if prompts is None and text is not None:
            return [text]
        return prompts or self.by_class.get(self.label_names[label]) or [self.from_template[label]]


def open_prompts(
    label_names: tuple[str, ...], *, template: str = "A photo of a {class}", file: str | None = None
) -> Prompts:
    """Decides every variant's prompt.

    In this order: the file's prompts for that image, the image's own caption (`text` of its
    metadata), the file's prompts for its class, the template. Several prompts for one image or
    class are taken in turn by the variants.

    Args:
      label_names: the classes, as the source names them.
      template: with `{class}` where the class name goes, or without.
      file: jsonl, each line `{"file_name": …, "prompt": …}` or `{"class": …, "prompt": …}`.

    Raises:
      UserError: the template has another placeholder, or the file cannot be read as described.
    """
    from_template = class_prompts(label_names, template)
    by_image: dict[str, list[str]] = {}
    by_class: dict[str, list[str]] = {}
    if file is not None:
        _read(staging.local(file), label_names, by_image, by_class)
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
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"prompt file {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
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
