"""The lines a fine-tuning begins and ends with."""

from pathlib import Path

from dreamda_jax.report.summary import readable_bytes


def start(
    *,
    devices: str,
    fsdp: int,
    model: str,
    method: str,
    num_trained: int,
    num_images: int,
    num_classes: int,
    resolution: int,
    num_steps: int,
    batch_size: int,
    accumulation: int,
    optimizer: str,
    weighting: str,
    step_flops: float,
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
      num_classes: of its labels.
      resolution: side of the images.
      num_steps: optimizer steps.
      batch_size: images of a step, over all devices.
      accumulation: portions of a batch.
      optimizer: in words.
      weighting: of noise levels, in words.
      step_flops: of training the U-Net on one image.
      num_bytes: that checkpoints and result may take.
      output: the directory.
    """
    split = f", state split over {fsdp}" if fsdp > 1 else ""
    portions = f" in {accumulation} portions" if accumulation > 1 else ""
    teraflop = step_flops * num_steps * batch_size / 1e12
    cost = f"{teraflop:,.0f}" if teraflop >= 100 else f"{teraflop:.3g}"
    return "\n".join(
        [
            f"devices     {devices}{split}",
            f"model       {model}",
            f"method      {method}, {num_trained / 1e6:.3g} M trained parameters",
            f"data        {num_images:,} images of {num_classes} classes, "
            f"{resolution}x{resolution}",
            f"steps       {num_steps:,}, batches of {batch_size:,}{portions}, "
            f"{num_steps * batch_size / num_images:,.1f} epochs",
            f"optimizer   {optimizer}",
            f"loss        {weighting}",
            f"cost        about {cost} TFLOP in all",
            f"output      {output}, at most about {readable_bytes(num_bytes)}",
        ]
    )


def end(directory: Path, *, seconds: float, rate: float, sheet: Path | None, next_: str) -> str:
    """Where the result is, and how to use it.

    Args:
      directory: of the result.
      seconds: this process took.
      rate: images per second, compilation left out; 0: not measured.
      sheet: the last sheet of pictures.
      next_: the arguments with which `generate` uses the result.
    """
    speed = f", {rate:,.2f} images/s after compilation" if rate else ""
    lines = [f"done        {directory}, {seconds:,.0f} s in this process{speed}"]
    if sheet is not None:
        lines.append(f"look at     {sheet}")
    lines.append(f"next        python -m dreamda_jax.generate --config ... {next_}")
    return "\n".join(lines)
