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
from dreamda_jax.runtime import devices, set_content
from dreamda_jax.runtime.heartbeat import waiting
from dreamda_jax.settings import binding, sections
from dreamda_jax.settings.sections import Clip

if TYPE_CHECKING:
    from dreamda_jax.models.stable_diffusion.model import StableDiffusion
    from dreamda_jax.synthesis.method import Method

_DEFAULTS: dict[str, Callable[..., Any]] = {
    "model": sections.Model,
    "image": sections.Image,
    "prompt": prompts.open_prompts,
    "synthesis": sections.Synthesis,
    "output": sections.Output,
    "clip": sections.Clip,
}
_SECTIONS = ("model", "source", "image", "prompt", "method", "synthesis", "output", "loader")


class Generation(NamedTuple):
    """Everything but the parameters: no weight has been read yet.

    Attributes:
      settings: what decides the output, for comparison when a run is taken up again.
      defaults: by section what a field of the settings counts as that an older run lacks.
      files: the checkpoint's files.
      model: its networks.
      method: how variants are made.
      source: the labelled images.
      choose_prompt: the prompt of each variant.
      layout: the output's shards.
      checkpoint: section "model"; likewise the other options.
      notes: what a person should hear of it.
      content: of the seed images; None where they are records.
    """

    settings: dict[str, Any]
    defaults: dict[str, dict[str, Any]]
    files: checkpoint_files.CheckpointFiles
    model: "StableDiffusion"
    method: "Method"
    source: sources.Source
    choose_prompt: prompts.ChoosePrompt
    layout: shards.Layout
    checkpoint: sections.Model
    image: sections.Image
    synthesis: sections.Synthesis
    output: sections.Output
    loader: sections.Loader
    notes: list[str]
    content: Content | None


def generation(config: dict[str, Any], *, verify: bool = False) -> Generation:
    """Checks a configuration and opens what it names.

    Args:
      config: the whole of it.
      verify: reads every file, whatever is known from an earlier start.

    Raises:
      UserError: a field is unknown or has a value that does not fit, or something it names is not
        there.
    """
    binding.check_sections(config, sections.SECTIONS)
    bind = functools.partial(binding.bind, config)
    image = bind("image", sections.Image)
    synthesis = bind("synthesis", sections.Synthesis)
    output = bind("output", sections.Output)
    loader = bind("loader", sections.Loader)
    checkpoint = bind("model", sections.Model)
    source = sources.open_source(**config["source"])
    sources.refuse_output_inside(source, output.path)
    if 0 < synthesis.max_seeds < len(source):
        source = sources.Spread(source, synthesis.max_seeds)
    files = checkpoint_files.find_checkpoint(checkpoint.path, revision=checkpoint.revision)
    given = bind("prompt", functools.partial(prompts.open_prompts, source.label_names))
    given = dataclasses.replace(given, draw_seed=synthesis.seed)
    from dreamda_jax.models.stable_diffusion import loading
    from dreamda_jax.synthesis.gif import Gif

    method = open_method(config, label_names=source.label_names)
    notes = []
    if config["prompt"].get("file") is not None:
        _check_prompts_are_used(method)
        notes.append(f"prompts   {given.about()}")
    model = loading.open_model(files, dtype=checkpoint.dtype)
    if checkpoint.attention == "auto":
        model = model.with_attention_for(devices.local_device())
    with binding.as_user_error("method"):
        method.check(model)
    model.latent_shape(image.resolution)  # raises for a size the network cannot take
    settings = {key: dict(config[key]) for key in _SECTIONS if key != "loader"}
    del settings["output"]["path"]  # a data set may be moved, a checkpoint too
    del settings["model"]["path"]
    settings["source"].pop("path", None)
    content = set_content.content_of(source, what="the seed images", verify=verify)
    with waiting("reading the files of the model"):
        loading.check_params(model, files)
        model_digests = checkpoint_files.checkpoint_digests(files, verify=verify)
    settings["sha256"] = {
        **set_content.digests_of(source, name="source", verify=verify, known=content),
        **model_digests,
    }
    if isinstance(method, Gif) and method.clip is not None:
        settings["clip"] = {key: value for key, value in config["clip"].items() if key != "path"}
        settings["sha256"]["clip"] = method.clip.digest
    layout = shards.Layout.for_seeds(
        staging.local(output.path),
        name=f"{source.name}_{method.name}",
        num_seeds=len(source),
        seeds_per_shard=synthesis.seeds_per_shard,
    )
    return Generation(
        settings,
        {
            **{name: binding.defaults(section) for name, section in _DEFAULTS.items()},
            "source": sources.option_defaults(config["source"]["kind"]),
            "method": binding.defaults(type(method)),
        },
        files,
        model,
        method,
        source,
        method.prompts(given, label_names=source.label_names, draw_seed=synthesis.seed),
        layout,
        checkpoint,
        image,
        synthesis,
        output,
        loader,
        notes,
        content,
    )


def check_classes(parts: Generation) -> list[str]:
    """Refuses classes of which no image can be read; a run that has begun is told of them.

    Raises:
      UserError: there is such a class, and nothing was made yet.
    """
    return readable_classes.refuse_unreadable_classes(
        parts.source,
        what="the images to expand",
        begun=run_directory.has_begun(parts.layout.directory),
    )


def _check_prompts_are_used(method: "Method") -> None:
    if method.uses_prompts:
        return
    from dreamda_jax.synthesis.bag_of_tricks import BagOfTricks
    from dreamda_jax.synthesis.gif import Gif

    hint = ""
    if isinstance(method, Gif):
        hint = ", or give --config.method.prompt_style=given"
    elif isinstance(method, BagOfTricks):
        hint = ", or give --config.method.trick=random_guidance or merged"
    raise UserError(
        f"prompt.file is given, but method {method.name} makes its images under prompts or "
        f"embeddings of its own: leave prompt.file out{hint}"
    )


def open_method(config: Mapping[str, Any], *, label_names: Sequence[str]) -> "Method":
    """The method of a configuration, with whatever other networks it asks; no weight is read.

    Raises:
      UserError: the method or an option is unknown, a value does not fit, or CLIP is not there.
    """
    from dreamda_jax.models.clip import encoder as clip
    from dreamda_jax.synthesis.gif import Gif
    from dreamda_jax.synthesis.registry import METHODS

    section = dict(config["method"])
    name = section.pop("name", None)
    chosen = binding.choose(METHODS, name, "method.name")
    known = {field.name for field in dataclasses.fields(chosen)}  # type: ignore[arg-type]
    strangers = [field for field in section if field not in known]
    others = {field.name for other in METHODS.values() for field in dataclasses.fields(other)}  # type: ignore[arg-type]
    if strangers and others.issuperset(strangers):
        raise UserError(
            f"method {name!r} has no option {strangers[0]!r}: section method is that of another "
            f"method. Begin with its own settings by --config FILE:{name}, such as "
            f"--config configs/fashion.py:{name}"
        )
    lacking = sorted(known - {"clip"} - section.keys())
    if lacking:
        raise UserError(
            f"section method lacks {', '.join(lacking)} of method {name!r}. Choose the method "
            f"after a colon, --config FILE:{name}, not by method.name"
        )
    method = binding.bind({"method": section}, "method", chosen)
    if isinstance(method, Gif):
        options = binding.bind(config, "clip", Clip)
        texts = prompts.class_prompts(label_names, options.template)
        guide = clip.open_guide(options.path, prompts=texts, revision=options.revision)
        method = dataclasses.replace(method, clip=guide)
    return method
