"""From a configuration to the checked objects that fine-tuning needs.

Networks are imported once every path has been found: a wrong one is refused at once.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dreamda_jax.data import prompts, sources
from dreamda_jax.data.content import Content
from dreamda_jax.data.files import run_directory, staging
from dreamda_jax.data.sources import readable_classes
from dreamda_jax.data.sources.classes import check_labels
from dreamda_jax.data.sources.labels import spoken_name
from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import checkpoint_files
from dreamda_jax.options.checkpoints import Model
from dreamda_jax.options.finetune import Finetune, check_dtype
from dreamda_jax.options.sections import SECTIONS
from dreamda_jax.options.synthesis import Image, Loader
from dreamda_jax.runtime import devices as mesh
from dreamda_jax.runtime import set_content
from dreamda_jax.runtime.heartbeat import waiting
from dreamda_jax.runtime.sweep import View
from dreamda_jax.settings import binding

if TYPE_CHECKING:
    from dreamda_jax.finetune.adaptation import Adaptation
    from dreamda_jax.models.stable_diffusion.model import StableDiffusion

_SECTIONS = ("model", "source", "image", "prompt", "finetune")
_IMAGES_PER_DEVICE = 4  # that the VAE encodes at once
_NOT_THE_RESULT = (
    *("output", "cache", "fsdp", "remat", "log_every", "checkpoint_every"),
    *("sample_every", "num_samples", "sample_steps", "sample_guidance_scale"),
)


class Finetuning(NamedTuple):
    """Everything but the parameters: no weight has been read yet.

    Attributes:
      settings: what decides the result, for comparison when a run is taken up again.
      defaults: by section what a field of the settings counts as that an older run lacks.
      job: section "finetune".
      files: the checkpoint's files.
      model: its networks.
      text_model: the same, with new tokens in text encoder and tokenizer where they are trained.
      adaptation: what is trained.
      source: the labelled images.
      choose_prompts: of each image; with new tokens in the place of class names.
      class_prompts: one for each class, for the pictures.
      tokens: the new tokens of each class; empty but for textual inversion.
      view: how images are read.
      checkpoint: section "model".
      content: of the images; None where they are records.
      notes: what a person should hear of it.
    """

    settings: dict[str, Any]
    defaults: dict[str, dict[str, Any]]
    job: Finetune
    files: checkpoint_files.CheckpointFiles
    model: "StableDiffusion"
    text_model: "StableDiffusion"
    adaptation: "Adaptation"
    source: sources.Source
    choose_prompts: prompts.Prompts
    class_prompts: list[str]
    tokens: list[list[str]]
    view: View
    checkpoint: Model
    content: Content | None
    notes: list[str]

    @property
    def output(self) -> Path:
        """The directory of the run and of its result."""
        return staging.local(self.job.output)


def finetuning(config: dict[str, Any], *, verify: bool = False) -> Finetuning:
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
    job = bind("finetune", Finetune)
    image = bind("image", Image)
    checkpoint = bind("model", Model)
    loader = bind("loader", Loader)
    check_dtype(checkpoint.dtype)
    _check_devices(job)
    source = sources.open_source(**config["source"])
    check_labels(source)
    for directory in (job.output, job.cache):
        sources.refuse_output_inside(source, directory)
    files = checkpoint_files.find_checkpoint(
        checkpoint.path, revision=checkpoint.revision, variant=checkpoint.variant
    )
    _refuse_own_start(files.directory, staging.local(job.output))
    from dreamda_jax.models.stable_diffusion import loading, model_settings, textual_inversion

    given = checkpoint.scheduler.given
    model = loading.open_model(files, dtype=checkpoint.dtype, scheduler=given)
    model.latent_shape(image.resolution)  # raises for a size the network cannot take
    model.check_empty_prompt()
    choose = bind("prompt", functools.partial(prompts.open_prompts, source.label_names))
    tokens: list[list[str]] = []
    text_model = model
    if job.method == "textual_inversion":
        tokens = textual_inversion.token_names(source.label_names, num_vectors=job.num_vectors)
        texts = _texts_with_tokens(tokens, **config["prompt"])
        choose = prompts.Prompts(source.label_names, texts, {}, {})
        text_model = _with_tokens(model, tokens)
        _check_room(text_model, tokens, texts)
    settings = {name: dict(config[name]) for name in _SECTIONS}
    for name in _NOT_THE_RESULT:
        settings["finetune"].pop(name, None)
    settings["finetune"]["learning_rate"] = job.peak_learning_rate
    settings["model"] = model_settings.of_run(settings["model"], model)
    settings["source"].pop("path", None)
    content = set_content.content_of(source, what="the images of section source", verify=verify)
    with waiting("reading the files of the model"):
        loading.check_params(model, files)
        model_digests = checkpoint_files.checkpoint_digests(files, verify=verify)
    settings["sha256"] = {
        **set_content.digests_of(source, name="source", verify=verify, known=content),
        **model_digests,
    }
    return Finetuning(
        settings,
        {
            "model": model_settings.of_older_runs(files),
            "source": sources.option_defaults(config["source"]["kind"]),
            "image": binding.defaults(Image),
            "prompt": binding.defaults(prompts.open_prompts),
            "finetune": binding.defaults(Finetune),
        },
        job,
        files,
        model,
        text_model,
        _adaptation(job, text_model, tokens, source.label_names),
        source,
        choose,
        [choose.of_image(label, "", None)[0] for label in range(len(source.label_names))],
        tokens,
        View(
            resolution=image.resolution,
            crop=image.crop,
            batch_size=_IMAGES_PER_DEVICE * mesh.device_count(),
            num_workers=loader.num_workers,
        ),
        checkpoint,
        content,
        loading.notes_of(files, given),
    )


def check_classes(parts: Finetuning) -> list[str]:
    """Refuses classes of which no image can be read; a run that has begun is told of them.

    Raises:
      UserError: there is such a class, and nothing was made yet.
    """
    return readable_classes.refuse_unreadable_classes(
        parts.source,
        what="the images to adapt to",
        begun=run_directory.has_begun(parts.output),
    )


def _check_devices(job: Finetune) -> None:
    portion, devices = job.batch_size // job.accumulation, mesh.device_count()
    if portion % devices:
        portions = f" in {job.accumulation} portions of {portion}" if job.accumulation > 1 else ""
        fitting = -(-portion // devices) * devices * job.accumulation
        raise UserError(
            f"finetune.batch_size={job.batch_size}{portions} cannot be shared by the {devices} "
            f"devices of this job: take a multiple of {devices * job.accumulation}, such as "
            f"{fitting}"
        )


def _refuse_own_start(directory: Path, output: Path) -> None:
    if output.exists() and directory.resolve() == output.resolve():
        raise UserError(
            f"model.path and finetune.output are both {output}: the model to start from would be "
            "overwritten. Give the original model, or another --config.finetune.output."
        )


def _texts_with_tokens(
    tokens: Sequence[Sequence[str]],
    *,
    template: str = "A photo of a {class}",
    file: str | None = None,
) -> list[str]:
    if file is not None:
        raise UserError(
            f"prompt.file={file} and finetune.method=textual_inversion: an image has the "
            "template with the new token of its class as prompt. Leave the file out."
        )
    if "{class}" not in template:
        raise UserError(
            f"prompt.template={template!r} has no {{class}}, where textual inversion puts the new "
            "token of a class"
        )
    return prompts.fill_template(template, [" ".join(own) for own in tokens])


def _with_tokens(model: "StableDiffusion", tokens: Sequence[Sequence[str]]) -> "StableDiffusion":
    from dreamda_jax.models.stable_diffusion import textual_inversion

    names = [token for own in tokens for token in own]
    if len(model.tokenizer) != model.vocabulary:
        raise UserError(
            f"tokenizer/ has {len(model.tokenizer):,} tokens and the text encoder knows "
            f"{model.vocabulary:,}: new tokens have no place that both agree on"
        )
    tokenizer = textual_inversion.extended_tokenizer(model.tokenizer, names)
    return model.with_vocabulary(model.vocabulary + len(names), tokenizer)


def _check_room(
    model: "StableDiffusion", tokens: Sequence[Sequence[str]], texts: Sequence[str]
) -> None:
    """Tokens behind the place where a prompt is cut would never be trained."""
    for own, text, ids in zip(tokens, texts, model.tokenize(texts), strict=True):
        if not set(model.tokenizer.convert_tokens_to_ids(list(own))) <= set(ids.tolist()):
            raise UserError(
                f"the prompt {text[:60]!r} … is longer than the text encoder's "
                f"{model.num_tokens} tokens, and is cut before the last of its {len(own)} new "
                "ones: give a smaller --config.finetune.num_vectors or a shorter "
                "--config.prompt.template"
            )


def _adaptation(
    job: Finetune,
    model: "StableDiffusion",
    tokens: Sequence[Sequence[str]],
    label_names: Sequence[str],
) -> "Adaptation":
    from dreamda_jax.finetune.adaptation import full, low_rank, new_tokens
    from dreamda_jax.models.stable_diffusion import textual_inversion

    if job.method == "full":
        return full(model, remat=job.remat)
    if job.method == "lora":
        return low_rank(model, rank=job.lora_rank, alpha=job.lora_alpha, remat=job.remat)
    start_ids = [
        textual_inversion.plain_ids(model.tokenizer, spoken_name(name))
        for name, own in zip(label_names, tokens, strict=True)
        for _ in own
    ]
    return new_tokens(model, start_ids=start_ids, remat=job.remat)
