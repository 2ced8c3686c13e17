"""Asymmetric Multi-Head Self-Training: three stages, each resumable, and the label audit."""

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dreamda_jax.algorithms.selftrain.amst import Targeted
from dreamda_jax.algorithms.selftrain.semi_supervised import Batch
from dreamda_jax.data.files import staging
from dreamda_jax.data.sets.verdicts import Verdicts
from dreamda_jax.data.sources.subset import Subset
from dreamda_jax.runtime import devices
from dreamda_jax.runtime.loop import Fitted
from dreamda_jax.runtime.state import TrainState
from dreamda_jax.train.amst_programs import AmstPrograms, stage_key
from dreamda_jax.train.audit import RoundAudit
from dreamda_jax.train.best import METRIC
from dreamda_jax.train.labelling import Labelling
from dreamda_jax.train.output import TrainingOutput, training_stream
from dreamda_jax.train.reference_labels import ReferenceLabels
from dreamda_jax.train.self_training_programs import classifier_of
from dreamda_jax.train.setups import AmstSetup
from dreamda_jax.train.summary import RunResult
from dreamda_jax.types import Params

_STREAMS = 2**32  # apart: the orders in which a run's stages see their images


class AmstTraining:
    """AMST and its ablations over a real and a synthetic set; compiled once for all its runs.

    A run's directory holds `stage1/`, and for every round `round-<r>/` with the training of stage 3
    and the audit of stage 2's labels.

    Args:
      setup: of the training.
      programs: made for it.
    """

    def __init__(self, setup: AmstSetup, programs: AmstPrograms) -> None:
        self._setup = setup
        self._programs = programs
        label_names = setup.network.label_names
        references = ReferenceLabels(
            setup.synthetic,
            label_names=label_names,
            reading=setup.reading,
            mesh=programs.mesh,
            output=staging.local(setup.job.output),
        )
        self._labelling = Labelling(
            setup.synthetic,
            directory=setup.synthetic_directory,
            expansion=setup.expansion,
            reading=setup.reading,
            amst=setup.amst,
            clip=setup.clip,
            programs=programs,
            references=references,
            settings=setup.identity.settings,
            notes=setup.notes_of("stage 2"),
        )
        self._round_audit = RoundAudit(
            setup.synthetic,
            label_names=label_names,
            reading=setup.reading,
            amst=setup.amst,
            clip=setup.clip,
            oracle=setup.audit.oracle,
            references=references,
        )
        self._one_hot = np.eye(len(label_names), dtype=np.float32)

    def train(self, run: int, stop: threading.Event) -> RunResult | None:
        """Trains run number `run`, or goes on training.

        Returns:
          The result, also of a run that had ended before; None if `stop` was set.

        Raises:
          UserError: training diverged, weights do not fit, all checkpoints are damaged, disk full.
        """
        setup, amst = self._setup, self._setup.amst
        output = TrainingOutput(
            run,
            job=setup.job,
            held_out=setup.held_out,
            reading=setup.reading,
            programs=self._programs,
            classifier_of=classifier_of,
        )
        rounds = [output.directory / f"round-{number}" for number in range(1, amst.max_rounds + 1)]
        if (result := output.result()) is not None:
            for directory in rounds:  # an oracle may have been named since
                self._audit(directory, self._labelling.known(directory), stop)
            return result
        fresh = self._programs.with_heads(self._programs.first_variables(output.seed), output.seed)
        variables = fresh
        if self._labelling.needs_heads or amst.stage3_start == "stage1":
            fitted = self._stage1(output, fresh, stop)
            variables = fitted.state.variables
            if not fitted.finished:
                return None
        for number, directory in enumerate(rounds, start=1):
            labels = self._stage2(output, directory, variables, number, run, stop)
            if labels is None:
                return None
            start = variables
            if amst.stage3_start == "fresh":
                start = fresh
            elif number == 1:
                start = self._programs.with_main_head(variables)
            with contextlib.closing(output.best(directory)) as best:
                fitted = self._stage3(output, directory, start, labels, number, best.validate, stop)
                if not fitted.finished:
                    return None
                variables = fitted.state.variables
                if number == amst.max_rounds:
                    return output.conclude(fitted, best, directory)
        raise AssertionError("max_rounds is at least 1")

    def _stage1(
        self, output: TrainingOutput, variables: dict[str, Params], stop: threading.Event
    ) -> Fitted:
        setup, programs = self._setup, self._programs
        length = setup.stage1
        _say("stage 1", f"the auxiliary heads on {len(setup.real):,} real images")
        measure = output.measure(programs.heads_evaluation)

        def validate(state: TrainState) -> dict[str, float]:
            return {} if measure is None else {METRIC: measure(state.variables)}

        def batches(start_step: int) -> Generator[Targeted, None, None]:
            stream = training_stream(
                setup.reading,
                setup.real,
                None,
                seed=output.seed,
                batch_size=length.batch_size,
                start_step=start_step,
                num_steps=length.num_steps,
            )
            with contextlib.closing(stream):
                for batch in stream:
                    rows = Targeted(batch.images, self._one_hot[batch.labels])
                    yield devices.global_rows(programs.mesh, rows)

        return output.fit(
            output.directory / "stage1",
            programs.stage1.first_state(variables, None),
            programs.stage1.of(stage_key(output.seed, "stage 1")),
            batches,
            validate=validate,
            num_steps=length.num_steps,
            batch_size=length.batch_size,
            steps_per_epoch=length.steps_per_epoch,
            stop=stop,
            notes=setup.notes_of("stage 1"),
        )

    def _stage2(
        self,
        output: TrainingOutput,
        directory: Path,
        variables: dict[str, Params],
        number: int,
        run: int,
        stop: threading.Event,
    ) -> Verdicts | None:
        count = len(self._setup.synthetic)
        _say("stage 2", f"round {number}, labels of {count:,} synthetic images")
        verdicts = self._labelling.label(
            directory, variables, output.seed, run=run, round_number=number, stop=stop
        )
        if verdicts is None:
            return None
        return verdicts if self._audit(directory, verdicts, stop) else None

    def _audit(self, directory: Path, verdicts: Verdicts, stop: threading.Event) -> bool:
        done = self._round_audit.is_written(directory)
        return done or self._round_audit.write(verdicts, directory, stop)

    def _stage3(
        self,
        output: TrainingOutput,
        directory: Path,
        variables: dict[str, Params],
        verdicts: Verdicts,
        number: int,
        validate: Callable[[TrainState], dict[str, float]],
        stop: threading.Event,
    ) -> Fitted:
        setup, amst, programs = self._setup, self._setup.amst, self._programs
        accepted = np.flatnonzero(verdicts.accepted)
        rest = np.flatnonzero(~verdicts.accepted & verdicts.decoded)
        consistent = amst.consistency and len(rest) > 0
        _say(
            "stage 3",
            f"{len(setup.real):,} real and {len(accepted):,} synthetic images with labels, "
            + (f"consistency on {len(rest):,} without" if consistent else "no consistency"),
        )
        stage = programs.stage3(
            consistent=consistent,
            train_heads=number < amst.max_rounds,  # for the next round's labels
        )
        ratio = amst.unlabelled_ratio if consistent else 0
        return output.fit(
            directory,
            stage.first_state(variables, programs.confidence()),
            stage.of(stage_key(output.seed, "stage 3", number)),
            functools.partial(
                self._batches, output.seed + number * _STREAMS, verdicts, accepted, rest, ratio
            ),
            validate=validate,
            num_steps=setup.length.num_steps,
            batch_size=setup.length.batch_size * (1 + ratio),
            steps_per_epoch=setup.length.steps_per_epoch,
            stop=stop,
            notes=setup.notes_of("stage 3"),
        )

    def _batches(
        self,
        seed: int,
        verdicts: Verdicts,
        accepted: np.ndarray,
        rest: np.ndarray,
        ratio: int,
        start_step: int,
    ) -> Generator[Batch, None, None]:
        """Stage 3's batches: real and accepted images, and `ratio` times as many of the rest."""
        setup, size = self._setup, self._setup.length.batch_size
        labelled = Subset(setup.synthetic, accepted, verdicts.pseudo_label[accepted])
        soft = setup.amst.pseudo_labels == "soft"
        stream = functools.partial(
            training_stream,
            setup.reading,
            synthetic_ratio=setup.synthetic_ratio,
            start_step=start_step,
            num_steps=setup.length.num_steps,
        )
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(
                contextlib.closing(
                    stream(
                        setup.real,
                        labelled if len(labelled) else None,
                        seed=seed,
                        batch_size=size,
                    )
                )
            )
            second: Iterable[Any] = itertools.repeat(None)
            if ratio:
                unlabelled = Subset(setup.synthetic, rest)
                second = stack.enter_context(
                    contextlib.closing(
                        stream(unlabelled, None, seed=seed + 1, batch_size=size * ratio)
                    )
                )

            for batch, without in zip(first, second, strict=False):
                targets = self._one_hot[batch.labels]
                if soft:
                    made = batch.synthetic
                    targets[made] = verdicts.probabilities[accepted[batch.index[made]]]
                images = None if without is None else without.images
                yield devices.global_rows(self._programs.mesh, Batch(batch.images, targets, images))


def _say(stage: str, what: str) -> None:
    print(f"{stage:12}{what}", flush=True)
