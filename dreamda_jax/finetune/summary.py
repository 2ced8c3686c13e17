"""The lines a fine-tuning begins and ends with."""

from pathlib import Path

from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.overview import overview
from dreamda_jax.options.finetune import Finetune
from dreamda_jax.runtime import forecast
from dreamda_jax.runtime.readable import readable_bytes, readable_flops

_LABEL_WIDTH = 12


def start(
    *,
    devices: str,
    fsdp: int,
    model: str,
    method: str,
    num_trained: int,
    num_images: int,
    source: Source,
    resolution: int,
    num_steps: int,
    batch_size: int,
    accumulation: int,
    optimizer: str,
    weighting: str,
    warmup_steps: int,
    image_flops: float,
    num_sheets: int,
    sheet_flops: float,
    time: forecast.Forecast | None,
    num_bytes: int,
    output: str,
) -> str:
    """What is about to be trained, on what, and at what cost.

    Args:
      devices: in words.
      fsdp: over how many of them the state is split.
      model: path and dtype of the model to start from.
      method: in words.
      num_trained: trained parameters.
      num_images: of the training set.
      source: the training set.
      resolution: side of the images.
      num_steps: optimizer steps.
      batch_size: images of a step, over all devices.
      accumulation: portions of a batch.
      optimizer: in words.
      weighting: of noise levels, in words.
      warmup_steps: of the learning rate.
      image_flops: of training the U-Net on one image.
      num_sheets: of pictures, over the whole training.
      sheet_flops: of one of them.
      time: of the training with its pictures.
      num_bytes: that checkpoints and result may take.
      output: the directory.
    """
    split = f", state split over {fsdp}" if fsdp > 1 else ""
    portions = f" in {accumulation} portions" if accumulation > 1 else ""
    millions = num_trained / 1e6
    trained = f"{millions:.3g} million" if millions >= 0.1 else f"{num_trained:,}"
    training, pictures = image_flops * num_steps * batch_size, sheet_flops * num_sheets
    cost = f"about {readable_flops(training)}"
    if num_sheets:
        cost += f", and {readable_flops(pictures)} for {num_sheets:,} sheets of pictures"
    lines = [
        f"devices     {devices}{split}",
        f"model       {model}",
        f"method      {method}, {trained} trained parameters",
        f"data        {num_images:,} images of {len(source.label_names)} classes, "
        f"{resolution}x{resolution}",
        *overview(source, label_width=_LABEL_WIDTH),
        f"steps       {num_steps:,}, batches of {batch_size:,}{portions}, "
        f"{num_steps * batch_size / num_images:,.1f} epochs",
        f"optimizer   {optimizer}",
        f"loss        {weighting}",
        f"cost        {cost}",
        *forecast.lines(time, label_width=_LABEL_WIDTH),
        f"output      {output}, at most about {readable_bytes(num_bytes)}",
    ]
    if warmup_steps >= num_steps:
        lines.append(
            f"note        the warm-up of {warmup_steps:,} steps is not over in {num_steps:,}: the "
            "learning rate never reaches its peak"
        )
    return "\n".join(lines)


def end(
    directory: Path, *, seconds: float, rate: float | None, sheet: Path | None, next_: str
) -> str:
    """Where the result is, and how to use it.

    Args:
      directory: of the result.
      seconds: this process took.
      rate: images per second of training alone, without compilation; None: not measured.
      sheet: the last sheet of pictures.
      next_: the arguments with which `generate` uses the result.
    """
    speed = f", {rate:,.2f} images/s while training" if rate else ""
    lines = [f"done        {directory}, {seconds:,.0f} s in this process{speed}"]
    if sheet is not None:
        lines.append(f"look at     {sheet}")
    return "\n".join([*lines, next_command(next_)])


def weighting(job: Finetune) -> str:
    """How the loss weighs noise levels, in words."""
    return {
        "p2": f"P2 weights, gamma {job.p2_gamma:g}, k {job.p2_k:g}",
        "min_snr": f"min-SNR weights, gamma {job.min_snr_gamma:g}",
        "none": "no weighting",
    }[job.weighting]


def next_command(arguments: str) -> str:
    """How to use a result, by the arguments that `generate` needs for it."""
    return f"next        python -m dreamda_jax.generate --config ... {arguments}"


def divergence_advice(*, clip_norm: float) -> str:
    """What to try when a loss is no number any more."""
    clip = "a smaller" if clip_norm else "a positive"
    return (
        "Try a lower --config.finetune.learning_rate, a longer --config.finetune.warmup_steps or "
        f"{clip} --config.finetune.clip_norm, with another --config.finetune.output."
    )
