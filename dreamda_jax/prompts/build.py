"""From a configuration to the objects of a job that writes descriptions."""

import dataclasses
import functools
import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamda_jax.data import sources
from dreamda_jax.data.files import staging
from dreamda_jax.data.files.object_store import is_remote
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.data.sources import labels
from dreamda_jax.errors import UserError
from dreamda_jax.options.prompts import Prompts
from dreamda_jax.options.sections import SECTIONS
from dreamda_jax.prompts.chat import ChatClient
from dreamda_jax.prompts.chat_writer import ChatWriter
from dreamda_jax.prompts.template import open_expander
from dreamda_jax.prompts.validation import Validator
from dreamda_jax.prompts.writer import Writer
from dreamda_jax.settings import binding

_OF_ALL = ("writer", "min_words", "max_words")
_OF_WRITER = {
    "chat": ("model", "wording", "temperature"),
    "template": ("seed",),
}


@dataclasses.dataclass(frozen=True)
class Prompting:
    """A job.

    Attributes:
      options: section `prompts`.
      label_names: the classes, as the source names them.
      output: the file.
      validator: judges descriptions.
      settings: everything that decides the descriptions; the key is not among them.
    """

    options: Prompts
    label_names: tuple[str, ...]
    output: Path
    validator: Validator
    settings: dict[str, Any]


def prompting(config: Mapping[str, Any]) -> Prompting:
    """Reads a configuration, and the classes of its source; asks nobody anything.

    Raises:
      UserError: whatever is wrong with the section, the source or the list of classes.
    """
    binding.check_sections(config, SECTIONS)
    if config["prompts"].get("writer") == "local":
        raise UserError(
            "prompts.writer=local was removed in 0.2. Serve the model behind an OpenAI-compatible "
            "endpoint (llama.cpp, vLLM, Ollama) and give --config.prompts.writer=chat "
            "--config.prompts.base_url=http://localhost:PORT/v1 with another prompts.output"
        )
    options: Prompts = binding.bind(config, "prompts", Prompts)
    if is_remote(options.output):
        raise UserError(
            f"config.prompts.output={options.output}: descriptions are written to a file on this "
            "machine; copy it there when it is finished"
        )
    if options.classes is not None:
        label_names = _read_classes(options.classes)
    else:
        source = sources.open_source(**config["source"])
        sources.refuse_output_inside(source, options.output)
        label_names = tuple(source.label_names)
    output = Path(options.output).expanduser()
    validator = Validator(label_names, min_words=options.min_words, max_words=options.max_words)
    return Prompting(
        options=options,
        label_names=label_names,
        output=output,
        validator=validator,
        settings=_settings(options, label_names),
    )


def open_writer(options: Prompts, stop: threading.Event) -> Writer:
    """The writer that section `prompts` names; an endpoint is not spoken to yet.

    Raises:
      UserError: the key or the file of attributes cannot be used.
    """
    if options.writer == "template" or options.model is None:  # "chat" has one
        return _sufficient(open_expander(options.attributes, seed=options.seed), options)
    client = ChatClient(
        options.base_url,
        options.model,
        key_variable=options.key_variable,
        temperature=options.temperature,
        timeout=options.timeout,
        max_attempts=options.max_attempts,
        wait=stop.wait,
        report=functools.partial(print, flush=True),
    )
    return ChatWriter(
        client,
        model=options.model,
        wording=options.wording,
        min_words=options.min_words,
        max_words=options.max_words,
    )


def _sufficient(expander: Any, options: Prompts) -> Writer:
    if expander.capacity < options.per_class:
        raise UserError(
            f"{options.attributes}: its sentences and lists make {expander.capacity:,} different "
            f"descriptions of a class, and config.prompts.per_class={options.per_class:,} are "
            "wanted: add words or sentences"
        )
    return expander


def _settings(options: Prompts, label_names: tuple[str, ...]) -> dict[str, Any]:
    """Of the options those that decide the descriptions; addresses and patience may change."""
    names = (*_OF_ALL, *_OF_WRITER[options.writer])
    settings: dict[str, Any] = {name: getattr(options, name) for name in names}
    if options.writer == "template" and options.attributes is not None:
        content = staging.local(options.attributes)
        if not check_regular(content).is_file():
            raise UserError(f"attributes file {options.attributes}: there is no such file")
        settings["attributes_sha256"] = hashlib.sha256(content.read_bytes()).hexdigest()
    # By digest: a difference between thousands of names would say nothing to anybody.
    names_digest = hashlib.sha256("\n".join(label_names).encode("utf-8", "surrogatepass"))
    classes = {"number": len(label_names), "sha256": names_digest.hexdigest()}
    return {"prompts": settings, "classes": classes}


def _read_classes(path: str) -> tuple[str, ...]:
    try:
        text = check_regular(staging.local(path)).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"file of classes {path} cannot be read: {error}") from error
    label_names = tuple(line.strip() for line in text.split("\n") if line.strip())
    try:
        labels.check_label_names(label_names)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return label_names
