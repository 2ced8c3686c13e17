"""From a configuration to the checked objects that fine-tuning needs.

What imports networks is imported once every path has been found: a wrong one is refused at once.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from dreamda_jax.data import prompts, sources
from dreamda_jax.data.content import Content
from dreamda_jax.data.files import run_directory, staging
from dreamda_jax.data.sources import readable_classes
from dreamda_jax.data.sources.classes import check_labels
from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import checkpoint_files
from dreamda_jax.options.checkpoints import Model
from dreamda_jax.options.finetune import Finetune, check_dtype
from dreamda_jax.options.sections import SECTIONS
from dreamda_jax.options.synthesis import Image, Loader
from dreamda_jax.runtime import set_content
from dreamda_jax.runtime.heartbeat import waiting
from dreamda_jax.runtime.sweep import View
from dreamda_jax.settings import binding

if TYPE_CHECKING:
    from dreamda_jax.finetune.adaptation import Adaptation
    from dreamda_jax.finetune.vocabulary import Vocabulary
    from dreamda_jax.models.stable_diffusion.model import StableDiffusion

_SECTIONS = ("model", "source", "image", "prompt", "finetune")
_IMAGES_PER_DEVICE = 4  # that the VAE encodes at once
_NOT_THE_RESULT = (
    *("output", "cache", "fsdp", "remat", "log_every", "checkpoint_every"),
    *("sample_every", "num_samples", "sample_steps", "sample_guidance_scale"),
)


Files = TypeVar("Files")


class Finetuning(NamedTuple, Generic[Files]):
    """Everything that decides what is compiled: no weight has been read yet.

    Attributes:
      job: section "finetune".
      checkpoint: section "model".
      files: the checkpoint's, as `open_networks` gave them.
      model: its networks.
      vocabulary: what prompts are encoded with, and the new tokens where they are trained.
      adaptation: what is trained.
      source: the labelled images.
      view: how images are read.
    """

    job: Finetune
    checkpoint: Model
    files: Files
    model: "StableDiffusion"
    vocabulary: "Vocabulary"
    adaptation: "Adaptation"
    source: sources.Source
    view: View

    @property
    def output(self) -> Path:
        """The directory of the run and of its result."""
        return staging.local(self.job.output)


class TrainingPrompts(NamedTuple):
    """What images are trained with.

    Attributes:
      choose: of each image; with new tokens in the place of class names.
      of_classes: one for each class, for the pictures.
    """

    choose: prompts.Prompts
    of_classes: list[str]


class Recorded(NamedTuple):
    """What a run is known by when it is taken up again.

    Attributes:
      settings: what decides the result.
      defaults: by section what a field of the settings counts as that an older run lacks.
      content: of the images; None where they are records.
    """

    settings: dict[str, Any]
    defaults: dict[str, dict[str, Any]]
    content: Content | None


def open_checkpoint(
    checkpoint: Model,
) -> "tuple[StableDiffusion, checkpoint_files.CheckpointFiles]":
    """The networks that section "model" names, and where their files lie.

    Raises:
      UserError: the checkpoint is not there, or cannot be used.
    """
    files = checkpoint_files.find_checkpoint(
        checkpoint.path, revision=checkpoint.revision, variant=checkpoint.variant
    )
    from dreamda_jax.models.stable_diffusion import loading

    given = checkpoint.scheduler.given
    return loading.open_model(files, dtype=checkpoint.dtype, scheduler=given), files


def finetuning(
    config: Mapping[str, Any],
    *,
    num_devices: int,
    open_networks: "Callable[[Model], tuple[StableDiffusion, Files]]",
    open_images: Callable[..., sources.Source] = sources.open_source,
) -> Finetuning[Files]:
    """Checks a configuration and opens what it names.

    Args:
      config: the whole of it.
      num_devices: that share each batch.
      open_networks: from section "model" to networks; `open_checkpoint`, or what stands in for it.
      open_images: from the fields of section "source" to a set.

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
    _check_devices(job, num_devices)
    source = open_images(**config["source"])
    check_labels(source)
    for directory in (job.output, job.cache):
        sources.refuse_output_inside(source, directory)
    model, files = open_networks(checkpoint)
    model.latent_shape(image.resolution)  # raises for a size the network cannot take
    from dreamda_jax.finetune.vocabulary import Vocabulary, new_tokens_for

    vocabulary = Vocabulary(model=model, tokens=[], start_ids=[])
    if job.method == "textual_inversion":
        vocabulary = new_tokens_for(model, source.label_names, num_vectors=job.num_vectors)
    return Finetuning(
        job=job,
        checkpoint=checkpoint,
        files=files,
        model=model,
        vocabulary=vocabulary,
        adaptation=_adaptation(job, vocabulary),
        source=source,
        view=View(
            resolution=image.resolution,
            crop=image.crop,
            batch_size=_IMAGES_PER_DEVICE * num_devices,
            num_workers=loader.num_workers,
        ),
    )


def training_prompts(
    config: Mapping[str, Any],
    *,
    model: "StableDiffusion",
    vocabulary: "Vocabulary",
    label_names: tuple[str, ...],
) -> TrainingPrompts:
    """Opens section "prompt".

    Args:
      config: the whole configuration.
      model: the networks.
      vocabulary: what prompts are encoded with.
      label_names: the classes.

    Raises:
      UserError: the section cannot be used, or the networks have no empty prompt.
    """
    from dreamda_jax.finetune.vocabulary import prompts_with_tokens

    model.check_empty_prompt()
    choose = binding.bind(config, "prompt", functools.partial(prompts.open_prompts, label_names))
    if vocabulary.tokens:
        choose = prompts_with_tokens(vocabulary, label_names, **config["prompt"])
    return TrainingPrompts(
        choose=choose,
        of_classes=[choose.of_image(label, "", None)[0] for label in range(len(label_names))],
    )


def recorded(
    config: Mapping[str, Any],
    *,
    job: Finetune,
    source: sources.Source,
    model: "StableDiffusion",
    files: checkpoint_files.CheckpointFiles,
    verify: bool = False,
) -> Recorded:
    """Reads what images and networks are, by their bytes.

    Args:
      config: the whole configuration.
      job: section "finetune".
      source: the images.
      model: the networks.
      files: of the checkpoint.
      verify: reads every file, whatever is known from an earlier start.

    Raises:
      UserError: a file cannot be read.
    """
    from dreamda_jax.models.stable_diffusion import model_settings

    settings = {name: dict(config[name]) for name in _SECTIONS}
    for name in _NOT_THE_RESULT:
        settings["finetune"].pop(name, None)
    settings["finetune"]["learning_rate"] = job.peak_learning_rate
    settings["model"] = model_settings.of_run(settings["model"], model)
    settings["source"].pop("path", None)
    content = set_content.content_of(source, what="the images of section source", verify=verify)
    with waiting("reading the files of the model"):
        model_digests = checkpoint_files.checkpoint_digests(files, verify=verify)
    settings["sha256"] = {
        **set_content.digests_of(source, name="source", verify=verify, known=content),
        **model_digests,
    }
    defaults = {
        "model": model_settings.of_older_runs(files),
        "source": sources.option_defaults(config["source"]["kind"]),
        "image": binding.defaults(Image),
        "prompt": binding.defaults(prompts.open_prompts),
        "finetune": binding.defaults(Finetune),
    }
    return Recorded(settings=settings, defaults=defaults, content=content)


def check_classes(source: sources.Source, output: Path) -> list[str]:
    """Refuses classes of which no image can be read; a run that has begun is told of them.

    Raises:
      UserError: there is such a class, and nothing was made yet.
    """
    return readable_classes.refuse_unreadable_classes(
        source, what="the images to adapt to", begun=run_directory.has_begun(output)
    )


def refuse_own_start(directory: Path, output: Path) -> None:
    """Keeps a result from being written over the model that it starts from.

    Raises:
      UserError: it would be.
    """
    if output.exists() and directory.resolve() == output.resolve():
        raise UserError(
            f"model.path and finetune.output are both {output}: the model to start from would be "
            "overwritten. Give the original model, or another --config.finetune.output."
        )


def _check_devices(job: Finetune, devices: int) -> None:
    portion = job.batch_size // job.accumulation
    if portion % devices:
        portions = f" in {job.accumulation} portions of {portion}" if job.accumulation > 1 else ""
        fitting = -(-portion // devices) * devices * job.accumulation
        raise UserError(
            f"finetune.batch_size={job.batch_size}{portions} cannot be shared by the {devices} "
            f"devices of this job: take a multiple of {devices * job.accumulation}, such as "
            f"{fitting}"
        )


def _adaptation(job: Finetune, vocabulary: "Vocabulary") -> "Adaptation":
    from dreamda_jax.finetune.adaptation import full, low_rank, new_tokens

    model = vocabulary.model
    if job.method == "full":
        return full(model, remat=job.remat)
    if job.method == "lora":
        return low_rank(model, rank=job.lora_rank, alpha=job.lora_alpha, remat=job.remat)
    return new_tokens(model, start_ids=vocabulary.start_ids, remat=job.remat)
