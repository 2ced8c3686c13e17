"""The methods that `train` knows."""

import threading
from typing import NamedTuple, Protocol

from dreamda_jax.train.build import Training
from dreamda_jax.train.summary import RunResult


class Method(Protocol):
    """A way of training, compiled once for all runs of a job."""

    def train(self, run: int, stop: threading.Event) -> RunResult | None:
        """Run number `run` from its seed to its accuracy; None if `stop` was set."""


def open_method(parts: Training) -> Method:
    """The method that `parts.job.method` names."""
    # One is imported: what AMST and its audit need takes a second that others need not wait.
    if parts.job.method == "amst":
        from dreamda_jax.train.amst import AmstTraining

        return AmstTraining(parts)
    if parts.job.method == "softmatch":
        from dreamda_jax.train.softmatch import SoftMatchTraining

        return SoftMatchTraining(parts)
    from dreamda_jax.train.supervised import SupervisedTraining

    return SupervisedTraining(parts)


class Description(NamedTuple):
    """Of a method, before anything is compiled.

    Attributes:
      text: in words.
      num_views: images that the network sees in a run, each view of each counted.
      stages: of a run, with the steps or images of each.
    """

    text: str
    num_views: float
    stages: tuple[tuple[str, float], ...]


def describe(parts: Training) -> Description:
    """What `open_method` would train."""
    batch, steps, of = parts.recipe.batch_size, parts.num_steps, parts.self_training
    if of is None:
        return Description("supervised", batch * steps, (("supervised", steps),))
    if parts.job.method == "softmatch":
        ratio = of.softmatch.unlabelled_ratio
        drawn = f", {of.softmatch.num_labels:,} of them drawn" if of.softmatch.num_labels else ""
        return Description(
            f"softmatch, {of.consistency.weighting} weights, {ratio} of "
            f"{len(of.unlabelled or ()):,} unlabelled images to each labelled one{drawn}",
            batch * steps * (1 + 2 * ratio),
            (("softmatch", steps),),
        )
    amst = of.amst
    labelled = 2 if amst.labelled_views == "both" else 1
    unlabelled = 2 * amst.unlabelled_ratio if amst.consistency else 0
    rounds = f", {amst.max_rounds} rounds" if amst.max_rounds > 1 else ""
    return Description(
        f"amst, labels: {amst.pseudo_labels}, {parts.stage1_steps:,} steps of stage 1{rounds}",
        2 * batch * parts.stage1_steps
        + amst.max_rounds * batch * steps * (labelled + unlabelled)
        + amst.max_rounds * len(parts.synthetic or ()) / 3,  # stage 2 only looks
        (
            ("stage 1", parts.stage1_steps),
            ("stage 2", amst.max_rounds * len(parts.synthetic or ())),
            ("stage 3", amst.max_rounds * steps),
        ),
    )
