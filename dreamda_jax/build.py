"""From a configuration to the checked objects a generation run needs; shared by entry points."""

import functools
from typing import Any, NamedTuple

from dreamda_jax import command_line, options
from dreamda_jax.data import prompts, shards, sources, staging
from dreamda_jax.models import checkpoint_files, loading, stable_diffusion
from dreamda_jax.synthesis import dreamda
from dreamda_jax.synthesis.method import Method

METHODS: dict[str, type] = {"dreamda": dreamda.DreamDA}
_SECTIONS = ("model", "source", "image", "prompt", "method", "synthesis", "output", "loader")


class Generation(NamedTuple):
    """Everything but the parameters: no weight has been read yet.

    Attributes:
      settings: what decides the output, for comparison when a run is taken up again.
      files: the checkpoint's files.
      model: its networks.
      method: how variants are made.
      source: the labelled images.
      choose_prompt: the prompt of each variant.
      layout: the output's shards.
      checkpoint: section "model"; likewise the other options.
    """

    settings: dict[str, Any]
    files: checkpoint_files.CheckpointFiles
    model: stable_diffusion.StableDiffusion
    method: Method
    source: sources.Source
    choose_prompt: prompts.ChoosePrompt
    layout: shards.Layout
    checkpoint: options.Model
    image: options.Image
    synthesis: options.Synthesis
    output: options.Output
    loader: options.Loader


def generation(config: dict[str, Any]) -> Generation:
    """Checks a configuration and opens what it names.

    Raises:
      UserError: a field is unknown or has a value that does not fit, or something it names is not
        there.
    """
    command_line.check_sections(config, options.SECTIONS)
    bind = functools.partial(command_line.bind, config)
    image = bind("image", options.Image)
    synthesis = bind("synthesis", options.Synthesis)
    output = bind("output", options.Output)
    loader = bind("loader", options.Loader)
    checkpoint = bind("model", options.Model)
    name = config["method"].get("name")
    method_class = command_line.choose(METHODS, name, "method.name")
    method = command_line.bind(
        {"method": {k: v for k, v in config["method"].items() if k != "name"}},
        "method",
        method_class,
    )
    source = sources.open_source(**config["source"])
    sources.refuse_output_inside(source, output.path)
    if 0 < synthesis.max_seeds < len(source):
        source = sources.Spread(source, synthesis.max_seeds)
    choose_prompt = bind("prompt", functools.partial(prompts.open_prompts, source.label_names))
    files = checkpoint_files.find_checkpoint(checkpoint.path, revision=checkpoint.revision)
    model = loading.open_model(files, dtype=checkpoint.dtype)
    with command_line.as_user_error("method"):
        method.check(model)
    model.latent_shape(image.resolution)  # raises for a size the network cannot take
    settings = {key: dict(config[key]) for key in _SECTIONS if key != "loader"}
    del settings["output"]["path"]  # a data set may be moved, a checkpoint too
    del settings["model"]["path"]
    settings["sha256"] = {
        "source": source.fingerprint(),
        "model": checkpoint_files.checkpoint_fingerprint(files.directory),
    }
    layout = shards.Layout.for_seeds(
        staging.local(output.path),
        name=f"{source.name}_{name}",
        num_seeds=len(source),
        seeds_per_shard=synthesis.seeds_per_shard,
    )
    return Generation(
        settings,
        files,
        model,
        method,
        source,
        choose_prompt,
        layout,
        checkpoint,
        image,
        synthesis,
        output,
        loader,
    )
