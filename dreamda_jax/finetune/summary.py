"""The lines a fine-tuning begins and ends with."""

from pathlib import Path

from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.overview import overview
from dreamda_jax.finetune.cost import Cost
from dreamda_jax.options.finetune import Finetune
from dreamda_jax.runtime import forecast
from dreamda_jax.runtime.readable import readable_bytes, readable_flops

_LABEL_WIDTH = 12


def start(
    job: Finetune,
    cost: Cost,
    *,
    devices: str,
    fsdp: int,
    model: str,
    prediction_type: str,
    num_trained: int,
    source: Source,
    resolution: int,
    time: forecast.Forecast | None,
) -> str:
    """What is about to be trained, on what, and at what cost.

    Args:
      job: how.
      cost: of it.
      devices: in words.
      fsdp: over how many of them the state is split.
      model: path and dtype of the model to start from.
      prediction_type: of its U-Net.
      num_trained: trained parameters.
      source: the training set.
      resolution: side of the images.
      time: of the training with its pictures.
    """
    split = f", state split over {fsdp}" if fsdp > 1 else ""
    portions = f" in {job.accumulation} portions" if job.accumulation > 1 else ""
    millions = num_trained / 1e6
    trained = f"{millions:.3g} million" if millions >= 0.1 else f"{num_trained:,}"
    training = cost.image_flops * job.num_steps * job.batch_size
    words = f"about {readable_flops(training)}"
    if cost.num_sheets:
        pictures = readable_flops(cost.sheet_flops * cost.num_sheets)
        words += f", and {pictures} for {cost.num_sheets:,} sheets of pictures"
    lines = [
        f"devices     {devices}{split}",
        f"model       {model}",
        f"method      {job.method.replace('_', ' ')}, {trained} trained parameters",
        f"data        {len(source):,} images of {len(source.label_names)} classes, "
        f"{resolution}x{resolution}",
        *overview(source, label_width=_LABEL_WIDTH),
        f"steps       {job.num_steps:,}, batches of {job.batch_size:,}{portions}, "
        f"{job.num_steps * job.batch_size / len(source):,.1f} epochs",
        f"optimizer   adamw, learning rate {job.peak_learning_rate:g}, {job.schedule}",
        f"loss        {prediction_type}, {weighting(job)}",
        f"cost        {words}",
        *forecast.lines(time, label_width=_LABEL_WIDTH),
        f"output      {job.output}, at most about {readable_bytes(cost.num_bytes)}",
    ]
    if job.warmup_steps >= job.num_steps:
        lines.append(
            f"note        the warm-up of {job.warmup_steps:,} steps is not over in "
            f"{job.num_steps:,}: the learning rate never reaches its peak"
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
