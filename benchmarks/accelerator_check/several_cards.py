"""g  The sampling program on one card, on two, … on all of this process: images/s of each number.

The program of `generate` for as many devices, one seed with five variants on each, with few steps:
what is measured is whether a card is as fast beside others as alone.
"""

import functools

import jax
import numpy as np

from benchmarks.accelerator_check import correctness, timing, weights
from benchmarks.accelerator_check.report import NO_TIME, NotHere, Section
from benchmarks.accelerator_check.setup import Setup
from dreamda_jax.runtime import devices as mesh
from dreamda_jax.synthesis.dreamda import DreamDA
from dreamda_jax.synthesis.method import Inputs
from dreamda_jax.synthesis.program import INPUTS, synthesis_program

TITLE = "one card, two, …: images/s"
_STEPS, _VARIANTS = 10, 5


def measure(setup: Setup, section: Section, clock: timing.Clock) -> None:
    """One row for each number of cards.

    Raises:
      NotHere: there is only one.
    """
    total = len(setup.devices)
    if total == 1:
        raise NotHere("there is one card")
    model = setup.model("bfloat16")
    method = DreamDA(num_inference_steps=_STEPS)
    names = ("unet", "vae", "text_encoder")
    params = jax.device_get(weights.draw(model, *names, device=setup.device))
    inputs = correctness.random_inputs(model, setup.size, num_seeds=1, num_variants=_VARIANTS)
    loops: dict[str, timing.Loop] = {}
    compiled: dict[str, float] = {}
    for count in sorted({2**power for power in range(total.bit_length())} | {total}):
        if count > total:
            continue
        if clock.left <= 0:
            section.row(cards=count, note=NO_TIME)
            continue
        devices = setup.devices[:count]
        parts = (mesh.WHOLE, INPUTS)
        spread = mesh.map_devices(lambda *arguments: arguments, parts, devices, results=parts)
        arguments = spread(params, _for_all(count, inputs))
        program = timing.compile_lowered(
            synthesis_program(model, method, devices).lower(*arguments)
        )
        loops[str(count)] = timing.repeat(functools.partial(program.call, *arguments))
        compiled[str(count)] = program.seconds
        section.say(f"{count} cards: compiled in {program.seconds:.1f} s")
    timed = timing.alternate(loops, seconds=setup.loop_seconds)
    alone = timed["1"].seconds if timed else 0.0
    for name, one in timed.items():
        images = int(name) * _VARIANTS
        section.row(
            cards=int(name),
            s_a_call=one.seconds,
            images_per_s=images / one.seconds,
            of_linear=alone / one.seconds,
            compiled_s=compiled[name],
        )
    section.figures |= {"steps": int(_STEPS * method.strength), "variants": _VARIANTS}


def _for_all(count: int, inputs: Inputs) -> Inputs:
    """The same seeds on every device: rows of one device's inputs, so many times."""
    return jax.tree.map(
        lambda part, leaf: np.concatenate([leaf] * count) if part == mesh.ROWS else leaf,
        INPUTS,
        inputs,
    )
