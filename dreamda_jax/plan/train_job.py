"""A classifier's training as a plan sees it: the step of `train` over all devices."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.algorithms.selftrain import semi_supervised
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.data.training_stream import epoch_length
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import registry
from dreamda_jax.options.classifier import Classifier, TrainingData
from dreamda_jax.options.sections import SECTIONS
from dreamda_jax.options.synthesis import Loader
from dreamda_jax.plan import stand_ins
from dreamda_jax.plan.job import Job, Program, bytes_on_device, placed, shape, whole_bytes
from dreamda_jax.runtime import devices as meshes
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.runtime.readable import readable_flops
from dreamda_jax.settings import binding
from dreamda_jax.train import build, build_self_training, supervised
from dreamda_jax.train.build import Training
from dreamda_jax.train.methods import describe
from dreamda_jax.train.programs import Programs, Stage
from dreamda_jax.train.self_training_programs import SelfTrainingPrograms

_VIEWS: dict[str, tuple[Any, ...]] = {
    "weak": ("weak",),
    "strong": ("strong",),
    "both": ("weak", "strong"),
}


def train_job(
    config: Mapping[str, Any],
    devices: list[Any],
    *,
    num_images: int | None,
    num_classes: int | None,
) -> Job:
    """What `python -m dreamda_jax.train` would run on these devices.

    Of AMST that is the step of stage 3, which takes most of its time; stages 1 and 2 count with
    their operations.

    Args:
      config: the whole configuration.
      devices: of the target, those of all hosts.
      num_images: real training images, if the set is not to be opened.
      num_classes: of them.

    Raises:
      UserError: a field is unknown or does not fit, what it names is neither here nor known, or the
        batch cannot be shared by the devices.
    """
    parts, assumed = _training(config, num_images=num_images, num_classes=num_classes)
    batch_size, count = parts.recipe.batch_size, len(devices)
    if batch_size % count:
        raise UserError(
            f"train.batch_size={batch_size} cannot be shared by {count} devices: take a multiple "
            f"of {count}, such as {-(-batch_size // count) * count}"
        )
    mesh = meshes.training_mesh(parts.job.fsdp, devices)
    step = _Step(parts, mesh)
    step_flops = step.flops(batch_size)
    description = describe(parts)
    rounds = 1
    if parts.self_training and parts.job.method == "amst":
        rounds = parts.self_training.amst.max_rounds
    num_steps = parts.num_steps * parts.job.num_runs * rounds
    others = description.num_views * parts.job.num_runs - step.views(batch_size) * num_steps
    extra_flops = max(0.0, others) * 3 * step.forward_flops

    def program(size: int) -> Program:
        flops = step_flops / batch_size * size
        return Program(functools.partial(step.lower, size * count), flops, size)

    real, synthetic = len(parts.real or ()), len(parts.synthetic or ())
    more = f" + {synthetic:,} synthetic" if synthetic else ""
    return Job(
        about=[
            ("job", f"train, {description.text}"),
            ("classifier", f"{parts.classifier.name}, {parts.classifier.dtype}"),
            (
                "data",
                f"{real:,} real{more} images of {len(parts.label_names)} classes, "
                f"{parts.image_size}x{parts.image_size}",
            ),
            (
                "steps",
                f"{num_steps:,}, batches of {batch_size:,}, {parts.job.num_runs} run(s), state "
                f"split over {mesh.shape['fsdp']} device(s)",
            ),
            (
                "cost",
                f"{readable_flops(step_flops / batch_size)} per image and step; "
                f"{readable_flops(step_flops * num_steps + extra_flops)} in all",
            ),
        ],
        assumed=assumed,
        program=program,
        size=batch_size // count,
        rows="images",
        field=f"train.batch_size / {count} devices",
        divides=0,
        dtype=parts.classifier.dtype,
        parameter_bytes=bytes_on_device(step.state),
        resident=0,
        num_images=batch_size * num_steps,
        calls=num_steps,
        extra_flops=extra_flops / count,
        # Two checkpoints that are kept, one that is being written, the best and the exported one.
        num_bytes=5 * whole_bytes(step.state) * parts.job.num_runs,
        written="checkpoints and weights",
    )


class _Step:
    """The step of a method, compiled for a mesh that is not here."""

    def __init__(self, parts: Training, mesh: Any) -> None:
        self._parts, self._mesh = parts, mesh
        self._ratio = 0
        here = parts._replace(job=dataclasses.replace(parts.job, fsdp=1))
        make = {"supervised": Programs}.get(parts.job.method, SelfTrainingPrograms)
        programs = make(here)
        programs.mesh = mesh  # made for the devices that are here; what it compiles follows this
        self._stage, variables, method_state = self._open(programs)
        state = jax.eval_shape(self._stage.first_state, variables, method_state)
        shardings = meshes.state_sharding(mesh, state)
        self.state = placed(state, shardings)
        side = parts.image_size
        self.forward_flops = count_flops(
            programs.classify, programs.variable_shapes, shape((1, side, side, 3), np.float32)
        )

    def _open(self, programs: Any) -> tuple[Stage, Any, Any]:
        parts = self._parts
        if parts.job.method == "supervised":
            loss = supervised.supervised_loss(
                programs.module,
                parts.augment,
                label_smoothing=parts.recipe.label_smoothing,
                **programs.shape,
            )
            stage = programs.stage(
                loss,
                programs.variable_shapes,
                num_steps=parts.num_steps,
                steps_per_epoch=parts.steps_per_epoch,
            )
            return stage, programs.variable_shapes, None
        assert parts.self_training is not None
        amst, with_heads = parts.self_training.amst, parts.job.method == "amst"
        if with_heads:
            self._ratio = amst.unlabelled_ratio if amst.consistency else 0
            stage = programs.main_stage(
                with_heads=True,
                with_unlabelled=amst.consistency,
                views=_VIEWS[amst.labelled_views],
                soft=amst.pseudo_labels == "soft",
            )
            start: Callable = functools.partial(programs.with_heads, seed=0)
        else:
            self._ratio = parts.self_training.softmatch.unlabelled_ratio
            stage = programs.main_stage(with_heads=False, with_unlabelled=True)
            start = programs.without_heads
        variables = jax.eval_shape(start, programs.variable_shapes)
        return stage, variables, jax.eval_shape(programs.confidence)

    def views(self, batch_size: int) -> float:
        """Images that the network sees in a step, each view counted."""
        if self._parts.self_training is None:
            return batch_size
        labelled = 1
        if self._parts.job.method == "amst":
            labelled = len(_VIEWS[self._parts.self_training.amst.labelled_views])
        return batch_size * (labelled + 2 * self._ratio)

    def lower(self, batch_size: int) -> Any:
        """Of a global batch."""
        return self._stage.step.lower(self._key(), self.state, self._batch(batch_size))  # type: ignore[attr-defined]

    def flops(self, batch_size: int) -> float:
        """Of a step on all devices together."""
        return count_flops(self._stage.step, self._key(), self.state, self._batch(batch_size))

    def _key(self) -> Any:
        return jax.eval_shape(random_key.key, 0)

    def _batch(self, batch_size: int) -> Any:
        side = self._parts.canvas
        images = shape((batch_size, side, side, 3), np.uint8)
        batch: Any = supervised.Labelled(images, shape((batch_size,), np.int32))
        if self._parts.self_training is not None:
            targets = shape((batch_size, len(self._parts.label_names)), np.float32)
            more = shape((batch_size * self._ratio, side, side, 3), np.uint8)
            batch = semi_supervised.Batch(images, targets, more if self._ratio else None)
        return placed(batch, jax.tree.map(lambda _: meshes.row_sharding(self._mesh), batch))


def _training(
    config: Mapping[str, Any], *, num_images: int | None, num_classes: int | None
) -> tuple[Training, list[str]]:
    """What `train.build.training` returns, with stand-ins for sets that are not here."""
    binding.check_sections(config, SECTIONS)
    classifier = binding.bind(config, "classifier", Classifier)
    data = binding.bind(config, "data", TrainingData)
    augment = binding.bind(config, "augment", Augment)
    loader = binding.bind(config, "loader", Loader)
    job, recipe = build._job_and_recipe(config)
    train_on = {"amst": "mixed", "softmatch": "real"}.get(job.method, data.train_on)
    architecture = binding.choose(registry.ARCHITECTURES, classifier.name, "classifier.name")
    image_size, canvas = build._image_sizes(classifier, architecture)
    opened = stand_ins.open_images(config["source"], num_images=num_images, num_classes=num_classes)
    real, assumed = opened.value, list(opened.assumed)
    synthetic: Any = None
    directory = Path(data.synthetic or config["output"]["path"])
    if train_on != "real":
        try:
            synthetic = SyntheticSource(directory, expansion=data.expansion)
        except UserError:
            count = len(real) * config["synthesis"]["num_variants"]
            synthetic = stand_ins.StandIn("synthetic", count, len(real.label_names))
            assumed.append(f"{count:,} synthetic images: {directory} is not here yet")
    found = None
    if job.method != "supervised":
        found = build_self_training.self_training(
            config, augment, method=job.method, real=real, test=None
        )
    shown = real if train_on != "synthetic" else None
    epoch_images = epoch_length(shown, synthetic, data.synthetic_ratio)
    stage1_steps = recipe.steps(len(real))
    if found and found.amst.stage1_steps:
        stage1_steps = found.amst.stage1_steps
    parts = Training(
        settings={},
        defaults={},
        job=job,
        classifier=classifier,
        data=dataclasses.replace(data, train_on=train_on),
        augment=augment,
        loader=loader,
        recipe=recipe,
        architecture=architecture,
        weights=None,  # of whatever origin: the shapes are the same
        label_names=tuple(real.label_names),
        real=shown,
        synthetic=synthetic,
        validation=None,
        test=None,
        image_size=image_size,
        canvas=canvas,
        epoch_images=epoch_images,
        num_steps=recipe.steps(epoch_images),
        checkpoint_every=job.checkpoint_every,
        stage1_steps=stage1_steps,
        synthetic_directory=directory,
        self_training=found,
        notes=[],
        sets={},
    )
    return parts, assumed
