"""Say whether a job fits an accelerator and what it takes, on a machine that has none.

    python -m dreamda_jax.plan --config configs/pets.py --target v5e-16
    python -m dreamda_jax.plan --config configs/pets.py --target h100x8 --price_per_hour 3
    python -m dreamda_jax.plan --config configs/pets.py --target v5e-16 --job finetune
    python -m dreamda_jax.plan --config configs/pets.py --target v4-8 --fast

The program that would run is compiled by the vendor's own compiler (pip install 'dreamda-jax[tpu]'
or 'dreamda-jax[cuda12]'), for devices that need not be there. Neither weights nor images have to be
there either, where the checkpoint and the set are well known. Nothing is downloaded.

A roofline is the least time that operations or memory traffic can take: a bound, not a forecast.

The largest batch is looked for by compiling: two sizes tell how memory grows, and the size at which
it should be full is compiled as well, at most five programs in all. Each takes minutes for a full
model, for TPUs up to a quarter of an hour on two cores; --nolargest_batch compiles one.
"""

import functools
import math
from typing import TYPE_CHECKING, Any

from absl import flags

from dreamda_jax.errors import UserError
from dreamda_jax.options import help
from dreamda_jax.settings import command_line

if TYPE_CHECKING:  # JAX and diffusers take seconds that --help should not cost
    from dreamda_jax.plan.compiling import Compiled, TooLarge
    from dreamda_jax.plan.job import Job
    from dreamda_jax.plan.targets import Target

command_line.define_config_flag()
_TARGET = flags.DEFINE_string(
    "target",
    None,
    "A TPU slice such as v5e-16, v4-8, v5p-8, v6e-4, tpu7x-8; a card: t4, l4, a10g, rtx4090, "
    "rtx5090, a100-40gb, a100, h100, h200, b200, or several, such as h100x8; or cpu, which is this "
    "machine, measured.",
)
_JOB = flags.DEFINE_enum("job", "generate", ["generate", "finetune", "train"], "Which job.")
_FAST = flags.DEFINE_bool(
    "fast", False, "Count operations and compile nothing: seconds, no compiler needed."
)
_LARGEST = flags.DEFINE_bool("largest_batch", True, "Look for the largest batch that fits.")
_PRICE = flags.DEFINE_float(
    "price_per_hour", None, "Of one device, in any currency: adds cost.", lower_bound=0.0
)
_UTILIZATION = flags.DEFINE_float(
    "utilization", 0.4, "Share of the roofline that is assumed to be reached.", 0.0, 1.0
)
_NUM_IMAGES = flags.DEFINE_integer(
    "num_images", None, "Images of the source, if it is not on this machine.", lower_bound=1
)
_NUM_CLASSES = flags.DEFINE_integer("num_classes", None, "Of the source, likewise.", lower_bound=1)


def main() -> int:
    """Plans a job and prints what it found."""
    config = command_line.read_config()
    if not _TARGET.value:
        raise UserError("no target given: add --target v5e-16 (or h100, h100x8, v4-8, …, cpu)")
    if not 0 < _UTILIZATION.value <= 1:  # flags' bounds let nan pass
        raise UserError(
            f"--utilization={_UTILIZATION.value:g}: a share of the roofline above 0 is needed"
        )
    if _PRICE.value is not None and not math.isfinite(_PRICE.value):
        raise UserError(f"--price_per_hour={_PRICE.value:g}: a finite number is needed")
    from dreamda_jax.plan import targets

    name = _TARGET.value.strip().lower()
    target = None if name == "cpu" else targets.parse_target(name)
    pretended = target.num_devices if target and _FAST.value else 0
    targets.tell_jax(pretended_devices=pretended)
    from dreamda_jax.plan import devices

    target = target or devices.this_machine()
    found = devices.pretended(target) if pretended else devices.target_devices(target)
    _plan(config, target, found)
    return 0


def _plan(config: dict[str, Any], target: "Target", devices: list[Any]) -> None:
    from dreamda_jax.plan import summary
    from dreamda_jax.plan.compiling import Compiled
    from dreamda_jax.plan.devices import with_measured_rates

    job = _open_job(config, devices)
    if not target.chip.flops:
        target = with_measured_rates(target, job.dtype)
    hosts = len({device.process_index for device in devices})
    print(summary.start(target, job, num_hosts=hosts), flush=True)
    if _FAST.value:
        print(summary.parameters_only(target, job))
        _report(target, job, None)
        return
    compile_size = functools.cache(functools.partial(_compile, job))
    found = compile_size(job.size)
    largest = None
    if _LARGEST.value:
        from dreamda_jax.plan.batch_search import largest_batch

        largest = largest_batch(
            compile_size, job.size, memory=target.chip.memory, divides=job.divides
        )
    print(summary.memory(target, job, found, largest))
    _report(target, job, found if isinstance(found, Compiled) else None)


def _open_job(config: dict[str, Any], devices: list[Any]) -> "Job":
    from dreamda_jax.plan.finetune_job import finetune_job
    from dreamda_jax.plan.generate_job import generate_job
    from dreamda_jax.plan.train_job import train_job

    openers = {"generate": generate_job, "finetune": finetune_job, "train": train_job}
    return openers[_JOB.value](
        config, devices, num_images=_NUM_IMAGES.value, num_classes=_NUM_CLASSES.value
    )


def _compile(job: "Job", size: int) -> "Compiled | TooLarge":
    from dreamda_jax.plan import summary
    from dreamda_jax.plan.compiling import compile_program

    found = compile_program(job.program(size).lower, resident=job.resident)
    print(summary.compiled(size, found, job), flush=True)
    return found


def _report(target: "Target", job: "Job", found: "Compiled | None") -> None:
    """What does not depend on whether it fits: speed, time, money, bytes."""
    from dreamda_jax.plan import roofline, summary

    program, chip = job.program(job.size), target.chip
    peak = chip.peak(job.dtype)
    bound = roofline.roofline(
        flops=program.flops,
        memory_bytes=found.traffic.memory_bytes if found else 0,
        peak_flops=peak,
        bandwidth=chip.bandwidth,
    )
    print(summary.speed(target, job, program, bound, counted=found is not None))
    seconds = bound.seconds + job.extra_flops / peak / job.calls
    least = roofline.duration(seconds, calls=job.calls, devices=target.num_devices)
    print(
        summary.whole_job(
            least,
            utilization=_UTILIZATION.value,
            price_per_hour=_PRICE.value,
            num_images=job.num_images,
        )
    )
    print(summary.end(job, found.traffic if found else None))


if __name__ == "__main__":
    command_line.run(main, functools.partial(help.text, "plan"))
