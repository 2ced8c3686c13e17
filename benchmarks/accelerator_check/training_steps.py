"""e  A training step of ResNet-50, and a step of fine-tuning the whole U-Net, on one device.

The programs of `python -m dreamda_jax.train` and `python -m dreamda_jax.finetune` with one random
batch that is there already, in bfloat16; each step's state is the next one's. FLOPs are three times
those of the forward pass, by convention: what rematerialised blocks compute twice does not count.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import classifier_step
from benchmarks.accelerator_check import ceilings, timing, weights
from benchmarks.accelerator_check.report import NO_TIME, Section
from benchmarks.accelerator_check.setup import Setup
from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.finetune.adaptation import full
from dreamda_jax.finetune.loss import Batch
from dreamda_jax.finetune.programs import EMPTY, Programs
from dreamda_jax.models.classifiers import registry
from dreamda_jax.options.finetune import Finetune
from dreamda_jax.runtime import devices as meshes

TITLE = "a step of training and of fine-tuning"
_DTYPE = "bfloat16"


class Step(NamedTuple):
    """A step to be compiled.

    Attributes:
      rows: images of its batch.
      flops: of the step, by convention.
      lower: gives (lowered program, the first state, a call of the compiled one with a state).
    """

    rows: int
    flops: float
    lower: Callable[[], tuple[Any, Any, Callable[[Any, Any], Any]]]


def measure(setup: Setup, section: Section, clock: timing.Clock) -> None:
    """One row for each of the two."""
    steps = {"classifier": _classifier_step, "fine-tuning": _finetuning_step}
    for name, make in steps.items():
        if clock.left <= 0:
            section.row(what=name, note=NO_TIME)
            continue
        what, step = make(setup)
        section.say(what)
        try:
            section.row(what=what, batch=step.rows, **_time(setup, step))
        except Exception as error:  # each backend has a type of its own
            if not timing.is_out_of_memory(error):
                raise
            section.row(what=what, batch=step.rows, note="out of memory")


def _time(setup: Setup, step: Step) -> dict[str, Any]:
    lowered, state, call = step.lower()
    program = timing.compile_lowered(lowered)
    loop = timing.chain(lambda state: call(program.call, state)[0], state)
    seconds = timing.alternate({"": loop}, seconds=setup.loop_seconds)[""].seconds
    product = ceilings.product_rate(setup, _DTYPE)
    return {
        "ms_a_step": 1e3 * seconds,
        "images_per_s": step.rows / seconds,
        "tflops": step.flops / seconds / 1e12,
        "of_product": step.flops / seconds / product,
        "compiled_s": program.seconds,
        "compiler_gb": program.memory.total / 1e9,
    }


def _classifier_step(setup: Setup) -> tuple[str, Step]:
    is_full = setup.size.name == "sd15"
    name, batch_size = ("resnet50", 256) if is_full else ("resnet_tiny", 4)
    architecture = registry.find_architecture(name)
    size = architecture.image_size if is_full else 32
    program = classifier_step.make_program(
        architecture, Augment(), size, batch_size=batch_size, dtype=_DTYPE
    )
    mesh = meshes.training_mesh(devices=[setup.device])
    whole = meshes.replicated(mesh)

    def lower() -> tuple[Any, Any, Callable[[Any, Any], Any]]:
        key = jax.device_put(random_key.key(0), whole)
        batch = meshes.global_rows(mesh, program.batch)
        state = jax.block_until_ready(jax.jit(program.first_state, out_shardings=whole)())
        jitted = jax.jit(program.step, donate_argnums=1, out_shardings=(whole, whole))
        return jitted.lower(key, state, batch), state, lambda call, state: call(key, state, batch)

    flops = 3 * classifier_step.forward_flops(program, size)
    return f"{name}, {size} x {size}", Step(batch_size, flops, lower)


def _finetuning_step(setup: Setup) -> tuple[str, Step]:
    model = weights.networks(setup.size, _DTYPE)
    job = Finetune() if setup.size.name == "sd15" else Finetune(batch_size=2)
    mesh = meshes.training_mesh(devices=[setup.device])
    programs = Programs(model, full(model, remat=job.remat), job, mesh)
    rows = job.batch_size
    generator = np.random.default_rng(0)
    width = model.text_encoder.config.hidden_size
    latents = (rows, *model.latent_shape(setup.size.resolution))
    batch = Batch(
        mean=generator.standard_normal(latents, np.float32),
        std=np.full(latents, 0.1, np.float32),
        text=generator.standard_normal((rows, model.num_tokens, width), np.float32),
        rows=np.arange(rows, dtype=np.int32),
    )
    empty = generator.standard_normal((model.num_tokens, width), np.float32).astype(model.dtype)

    def lower() -> tuple[Any, Any, Callable[[Any, Any], Any]]:
        placed = meshes.global_rows(mesh, batch)
        frozen = {EMPTY: meshes.place(empty, meshes.replicated(mesh))}
        key = jax.device_put(random_key.key(0), meshes.replicated(mesh))
        state = jax.block_until_ready(programs.first_state(setup.unet(_DTYPE)))
        setup.drop(_DTYPE)
        lowered = programs.step.lower(frozen, key, state, placed)
        return lowered, state, lambda call, state: call(frozen, key, state, placed)

    side = setup.size.resolution
    what = f"fine-tuning of the U-Net, {side} x {side}"
    return what, Step(rows, 3 * rows * setup.row_flops, lower)
