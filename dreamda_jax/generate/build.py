"""From a configuration to the checked objects a generation run needs; shared by entry points.

Networks are imported once every path has been found: a wrong one is refused at once.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dreamda_jax.data import prompts, sources
from dreamda_jax.data.content import Content
from dreamda_jax.data.files import run_directory, staging
from dreamda_jax.data.sets import shards
from dreamda_jax.data.sources import readable_classes
from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import checkpoint_files
from dreamda_jax.options.checkpoints import Clip, Model
from dreamda_jax.options.fields import fields_of
from dreamda_jax.options.methods import METHODS
from dreamda_jax.options.sections import SECTIONS
from dreamda_jax.options.synthesis import Image, Loader, Output, Synthesis
from dreamda_jax.runtime import devices, set_content
from dreamda_jax.runtime.heartbeat import waiting
from dreamda_jax.settings import binding

if TYPE_CHECKING:
    from dreamda_jax.models.clip.encoder import Guide
    from dreamda_jax.models.stable_diffusion.model import StableDiffusion
    from dreamda_jax.synthesis.method import Method

_DEFAULTS: dict[str, Callable[..., Any]] = {
    "image": Image,
    "prompt": prompts.open_prompts,
    "synthesis": Synthesis,
    "output": Output,
    "clip": Clip,
}
_SECTIONS = ("model", "source", "image", "prompt", "method", "synthesis", "output", "loader")


class Identity(NamedTuple):
    """What a directory must have been begun with, to be continued.

    Attributes:
      settings: what decides the output.
      defaults: by section what a field of the settings counts as that an older run lacks.
      content: of the seed images; None where they are records.
    """

    settings: dict[str, Any]
    defaults: dict[str, dict[str, Any]]
    content: Content | None


class Networks(NamedTuple):
    """A checkpoint without its parameters: no weight has been read yet.

    Attributes:
      options: section "model".
      files: the checkpoint's.
      model: its networks.
    """

    options: Model
    files: checkpoint_files.CheckpointFiles
    model: "StableDiffusion"


class Making(NamedTuple):
    """What is made of which images, and where to.

    Attributes:
      source: the labelled images.
      method: how variants are made.
      choose_prompt: the prompt of each variant.
      layout: the output's shards.
      image: section "image"; likewise the other options.
    """

    source: sources.Source
    method: "Method"
    choose_prompt: prompts.ChoosePrompt
    layout: shards.Layout
    image: Image
    synthesis: Synthesis
    output: Output
    loader: Loader


class Generation(NamedTuple):
    """A checked configuration.

    Attributes:
      identity: what the output's directory must have been begun with.
      networks: the checkpoint.
      making: what is made.
      notes: what a person should hear of it.
    """

    identity: Identity
    networks: Networks
    making: Making
    notes: list[str]


def generation(config: dict[str, Any], *, verify: bool = False) -> Generation:
    """Checks a configuration and opens what it names.

    Args:
      config: the whole of it.
      verify: reads every file, whatever is known from an earlier start.

    Raises:
      UserError: a field is unknown or has a value that does not fit, or something it names is not
        there.
    """
    binding.check_sections(config, SECTIONS)
    bind = functools.partial(binding.bind, config)
    image = bind("image", Image)
    synthesis = bind("synthesis", Synthesis)
    output = bind("output", Output)
    loader = bind("loader", Loader)
    checkpoint = bind("model", Model)
    check_method(config)
    source = sources.open_source(**config["source"])
    sources.refuse_output_inside(source, output.path)
    if 0 < synthesis.max_seeds < len(source):
        source = sources.Spread(source, synthesis.max_seeds)
    files = checkpoint_files.find_checkpoint(
        checkpoint.path, revision=checkpoint.revision, variant=checkpoint.variant
    )
    given = bind("prompt", functools.partial(prompts.open_prompts, source.label_names))
    given = dataclasses.replace(given, draw_seed=synthesis.seed)
    from dreamda_jax.models.stable_diffusion import loading, model_settings

    method = open_method(config, label_names=source.label_names)
    notes = loading.notes_of(files, checkpoint.scheduler.given)
    if config["prompt"].get("file") is not None:
        _check_prompts_are_used(method)
        notes.append(f"prompts   {given.about()}")
    model = loading.open_model(files, dtype=checkpoint.dtype, scheduler=checkpoint.scheduler.given)
    if checkpoint.attention == "auto":
        model = model.with_attention_for(devices.local_device())
    with binding.as_user_error("method"):
        method.check(model)
    model.latent_shape(image.resolution)  # raises for a size the network cannot take
    settings = {key: dict(config[key]) for key in _SECTIONS if key != "loader"}
    del settings["output"]["path"]  # a data set may be moved, a checkpoint too
    settings["model"] = model_settings.of_run(settings["model"], model)
    settings["source"].pop("path", None)
    content = set_content.content_of(source, what="the seed images", verify=verify)
    with waiting("reading the files of the model"):
        loading.check_params(model, files)
        model_digests = checkpoint_files.checkpoint_digests(files, verify=verify)
    settings["sha256"] = {
        **set_content.digests_of(source, name="source", verify=verify, known=content),
        **model_digests,
    }
    for section in method.networks:
        settings[section] = {key: value for key, value in config[section].items() if key != "path"}
    settings["sha256"] |= method.digests()
    layout = shards.Layout.for_seeds(
        staging.local(output.path),
        name=f"{source.name}_{method.name}",
        num_seeds=len(source),
        seeds_per_shard=synthesis.seeds_per_shard,
    )
    defaults = {
        **{name: binding.defaults(section) for name, section in _DEFAULTS.items()},
        "model": model_settings.of_older_runs(files),
        "source": sources.option_defaults(config["source"]["kind"]),
        "method": binding.defaults(type(method)),
    }
    choose = method.prompts(given, label_names=source.label_names, draw_seed=synthesis.seed)
    return Generation(
        identity=Identity(settings=settings, defaults=defaults, content=content),
        networks=Networks(options=checkpoint, files=files, model=model),
        making=Making(
            source=source,
            method=method,
            choose_prompt=choose,
            layout=layout,
            image=image,
            synthesis=synthesis,
            output=output,
            loader=loader,
        ),
        notes=notes,
    )


def check_classes(source: sources.Source, layout: shards.Layout) -> list[str]:
    """Refuses classes of which no image can be read; a run that has begun is told of them.

    Raises:
      UserError: there is such a class, and nothing was made yet.
    """
    return readable_classes.refuse_unreadable_classes(
        source,
        what="the images to expand",
        begun=run_directory.has_begun(layout.directory),
    )


def _check_prompts_are_used(method: "Method") -> None:
    if method.uses_prompts:
        return
    hint = f", or give {method.prompts_hint}" if method.prompts_hint else ""
    raise UserError(
        f"prompt.file is given, but method {method.name} makes its images under prompts or "
        f"embeddings of its own: leave prompt.file out{hint}"
    )


def check_method(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of section "method", checked; the method's code is not imported.

    Raises:
      UserError: the method or an option is unknown, or a value does not fit.
    """
    section = dict(config["method"])
    name = section.pop("name", None)
    record = binding.choose(METHODS, name, "method.name")
    known = {field.name for field in fields_of(record)}
    strangers = [field for field in section if field not in known]
    others = {field.name for other in METHODS.values() for field in fields_of(other)}
    if strangers and others.issuperset(strangers):
        raise UserError(
            f"method {name!r} has no option {strangers[0]!r}: section method is that of another "
            f"method. Begin with its own settings by --config FILE:{name}, such as "
            f"--config fashion:{name}"
        )
    lacking = sorted(known - section.keys())
    if lacking:
        raise UserError(
            f"section method lacks {', '.join(lacking)} of method {name!r}. Choose the method "
            f"after a colon, --config FILE:{name}, not by method.name"
        )
    binding.bind({"method": section}, "method", record)
    return section


def open_method(config: Mapping[str, Any], *, label_names: Sequence[str]) -> "Method":
    """The method of a configuration, with whatever other networks it asks; no weight is read.

    Raises:
      UserError: see `check_method`; or CLIP is not there.
    """
    options = check_method(config)
    from dreamda_jax.synthesis import registry

    method = registry.METHODS[config["method"]["name"]](**options)
    return method.with_networks(
        {section: _open_guide(config, label_names=label_names) for section in method.networks}
    )


def _open_guide(config: Mapping[str, Any], *, label_names: Sequence[str]) -> "Guide":
    from dreamda_jax.models.clip import encoder as clip

    options = binding.bind(config, "clip", Clip)
    texts = prompts.class_prompts(label_names, options.template)
    return clip.open_guide(options.path, prompts=texts, revision=options.revision)
