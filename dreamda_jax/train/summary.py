"""The lines a classifier's training begins with, and the table it ends with."""

from collections.abc import Sequence
from typing import NamedTuple

from dreamda_jax.algorithms.metrics.intervals import mean_and_std
from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.overview import overview
from dreamda_jax.runtime import forecast

_LABEL_WIDTH = 12


class RunResult(NamedTuple):
    """What one run, of several that differ in their seed, came to.

    Attributes:
      seed: of this run.
      test_accuracy: of the last weights, in [0, 1].
      best_test_accuracy: of the weights that did best on the validation set, on the test set; None
        without a validation set.
      best_step: the step of those weights.
      train_loss: the last one.
      images_per_second: trained on, compilation and evaluation left out.
      seconds: the whole run took.
      only_class: the class that every image was taken for by the last weights; None where they
        tell classes apart.
    """

    seed: int
    test_accuracy: float
    best_test_accuracy: float | None
    best_step: int | None
    train_loss: float
    images_per_second: float
    seconds: float
    only_class: str | None = None


def collapsed(runs: Sequence[RunResult], *, measured_on: str) -> list[str]:
    """A warning for each run whose classifier takes every image for the same class."""
    return [
        f"warning     run {place}: every {measured_on} image is taken for {run.only_class!r}: the "
        "classifier has learnt nothing that tells classes apart. Train longer "
        "(--config.train.num_steps), or with another --config.train.learning_rate"
        for place, run in enumerate(runs)
        if run.only_class is not None
    ]


def start(
    *,
    devices: str,
    classifier: str,
    num_params: int,
    weights: str,
    num_real: int,
    num_synthetic: int,
    source: Source,
    resolution: int,
    num_steps: int,
    num_epochs: float,
    batch_size: int,
    optimizer: str,
    schedule: str,
    num_runs: int,
    method: str,
    forward_flops: float,
    num_views: float,
    time: forecast.Forecast | None,
    output: str,
) -> str:
    """What is about to be trained, on what, and how.

    Args:
      devices: in words.
      classifier: its name.
      num_params: of the classifier.
      weights: where they come from, or "scratch".
      num_real: real training images.
      num_synthetic: synthetic ones.
      source: what is trained on, real where there is such.
      resolution: of the images as the classifier sees them.
      num_steps: of the optimizer, in all.
      num_epochs: passes over the training images that these make.
      batch_size: images of a step, on all devices together.
      optimizer: in words, with its settings.
      schedule: of the learning rate, in words.
      num_runs: trainings that differ in their seed.
      method: in words.
      forward_flops: of the network on one image; training on it does about three times as much.
      num_views: images that the network sees in a run, each view of each counted.
      time: of all runs that are left.
      output: the directory.
    """
    start_from = "from scratch" if weights == "scratch" else f"weights: {weights}"
    teraflop = 3 * forward_flops * num_views * num_runs / 1e12
    runs = f", {num_runs} runs" if num_runs > 1 else ""
    synthetic = f" + {num_synthetic:,} synthetic" if num_synthetic else ""
    return "\n".join(
        [
            f"devices     {devices}",
            f"classifier  {classifier}, {num_params / 1e6:.2f} M parameters, {start_from}",
            f"data        {num_real:,} real{synthetic} images of "
            f"{len(source.label_names)} classes, {resolution}x{resolution}",
            *overview(source, label_width=_LABEL_WIDTH),
            f"method      {method}",
            f"steps       {num_steps:,}, batches of {batch_size:,}, {num_epochs:,.1f} epochs{runs}",
            f"optimizer   {optimizer}, {schedule}",
            f"cost        about {teraflop:,.{0 if teraflop >= 100 else 2}f} TFLOP in all, "
            f"{3 * forward_flops / 1e9:.3g} GFLOP an image",
            *forecast.lines(time, label_width=_LABEL_WIDTH),
            f"output      {output}",
        ]
    )


def closing_table(runs: Sequence[RunResult], *, measured_on: str = "test") -> str:
    """A row per run and one of means ± standard deviations, as plain text.

    Args:
      runs: at least one.
      measured_on: the name of the set whose accuracy they hold.

    Raises:
      ValueError: no runs.
    """
    best = [run.best_test_accuracy for run in runs if run.best_test_accuracy is not None]
    columns = [
        ["run", *(f"seed {run.seed}" for run in runs), "mean"],
        _column(f"{measured_on} accuracy", "{:.2%}", [run.test_accuracy for run in runs]),
        _column("train loss", "{:.4f}", [run.train_loss for run in runs]),
        _rates([run.images_per_second for run in runs]),
        _column("seconds", "{:,.1f}", [run.seconds for run in runs]),
    ]
    if best:
        cells = [
            "-"
            if run.best_test_accuracy is None
            else f"{run.best_test_accuracy:.2%} (step {run.best_step:,})"
            for run in runs
        ]
        columns.insert(2, ["best on validation", *cells, _mean_in_words("{:.2%}", best)])
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])])
        for first, *others in rows
    )


def _rates(rates: Sequence[float]) -> list[str]:
    """Images per second; none of a run that ended before a second portion of steps was timed."""
    timed = [rate for rate in rates if rate > 0]
    cells = [f"{rate:,.1f}" if rate > 0 else "-" for rate in rates]
    return ["images/s", *cells, _mean_in_words("{:,.1f}", timed) if timed else "-"]


def _column(title: str, form: str, values: Sequence[float]) -> list[str]:
    return [title, *(form.format(value) for value in values), _mean_in_words(form, values)]


def _mean_in_words(form: str, values: Sequence[float]) -> str:
    return " ± ".join(form.format(value) for value in mean_and_std(values) if value is not None)
