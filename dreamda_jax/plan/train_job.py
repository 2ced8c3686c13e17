"""A classifier's training as a plan sees it: the step of `train` over all devices."""

import functools
from collections.abc import Mapping
from typing import Any

import jax

from dreamda_jax.algorithms import random_key
from dreamda_jax.plan.job import Job, Program, bytes_on_device, placed, whole_bytes
from dreamda_jax.plan.train_images import PlannedImages
from dreamda_jax.runtime import devices as meshes
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.runtime.readable import readable_flops
from dreamda_jax.train import build
from dreamda_jax.train.methods import open_programs
from dreamda_jax.train.programs import Programs


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
    images = PlannedImages(config, num_images=num_images, num_classes=num_classes)
    setup = build.training(
        config,
        images=images,
        open_weights=lambda classifier, architecture: None,  # of any origin: shapes are the same
        num_devices=len(devices),
    )
    network, job = setup.network, setup.job
    batch_size, count = setup.length.batch_size, len(devices)
    mesh = meshes.training_mesh(job.fsdp, devices)
    step = _Step(open_programs(setup, mesh), canvas=setup.reading.canvas)
    step_flops = step.flops(batch_size)
    description = setup.describe()
    num_steps = description.stages[-1][1] * job.num_runs
    seen = batch_size * setup.views_per_image * num_steps
    others = description.num_views * job.num_runs - seen
    extra_flops = max(0.0, others) * 3 * network.size().forward_flops

    def program(size: int) -> Program:
        flops = step_flops / batch_size * size
        return Program(functools.partial(step.lower, size * count), flops, size)

    real, synthetic = len(setup.real or ()), len(setup.synthetic or ())
    more = f" + {synthetic:,} synthetic" if synthetic else ""
    return Job(
        about=[
            ("job", f"train, {description.text}"),
            ("classifier", f"{network.options.name}, {network.options.dtype}"),
            (
                "data",
                f"{real:,} real{more} images of {len(network.label_names)} classes, "
                f"{network.image_size}x{network.image_size}",
            ),
            (
                "steps",
                f"{num_steps:,}, batches of {batch_size:,}, {job.num_runs} run(s), state "
                f"split over {mesh.shape['fsdp']} device(s)",
            ),
            (
                "cost",
                f"{readable_flops(step_flops / batch_size)} per image and step; "
                f"{readable_flops(step_flops * num_steps + extra_flops)} in all",
            ),
        ],
        assumed=images.assumed,
        program=program,
        size=batch_size // count,
        rows="images",
        field=f"train.batch_size / {count} devices",
        divides=0,
        dtype=network.options.dtype,
        parameter_bytes=bytes_on_device(step.state),
        resident=0,
        num_images=batch_size * num_steps,
        calls=num_steps,
        extra_flops=extra_flops / count,
        # Two checkpoints that are kept, one that is being written, the best and the exported one.
        num_bytes=5 * whole_bytes(step.state) * job.num_runs,
        written="checkpoints and weights",
    )


class _Step:
    """The step of a method's main stage, over devices that are not here.

    Args:
      programs: of the method, for those devices.
      canvas: side to which images are decoded.
    """

    def __init__(self, programs: Programs, *, canvas: int) -> None:
        self._programs, self._canvas = programs, canvas
        self._step = programs.main_stage.step
        start = jax.eval_shape(programs.main_start, programs.variable_shapes)
        state = jax.eval_shape(programs.main_stage.first_state, *start)
        self.state = placed(state, meshes.state_sharding(programs.mesh, state))

    def lower(self, batch_size: int) -> Any:
        """Of a global batch."""
        return self._step.lower(self._key(), self.state, self._batch(batch_size))  # type: ignore[attr-defined]

    def flops(self, batch_size: int) -> float:
        """Of a step on all devices together."""
        return count_flops(self._step, self._key(), self.state, self._batch(batch_size))

    def _key(self) -> Any:
        return jax.eval_shape(random_key.key, 0)

    def _batch(self, batch_size: int) -> Any:
        batch = self._programs.batch_shapes(batch_size, canvas=self._canvas)
        rows = meshes.row_sharding(self._programs.mesh)
        return placed(batch, jax.tree.map(lambda _: rows, batch))
