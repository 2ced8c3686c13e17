"""Train a classifier on real, synthetic or mixed images, and report its top-1 accuracy.

    python -m dreamda_jax.train --config configs/fashion.py
    python -m dreamda_jax.train --config configs/fashion.py --config.data.train_on=mixed
    python -m dreamda_jax.train --config configs/fashion.py --config.train.method=amst
    python -m dreamda_jax.train --config configs/fashion.py --config.train.num_runs=3
    python -m dreamda_jax.train --config configs/pets.py --config.classifier.weights=pretrained

Synthetic images are those that `python -m dreamda_jax.generate` made with the same configuration.
Run the same command again to continue a training that was interrupted.
"""

import functools
import threading
from typing import TYPE_CHECKING, Any

from absl import flags

from dreamda_jax.options import help
from dreamda_jax.settings import command_line

if TYPE_CHECKING:  # JAX and Flax take seconds that --help should not cost
    from dreamda_jax.train import build
    from dreamda_jax.train.summary import RunResult

command_line.define_config_flag()
command_line.define_dry_run_flag()
command_line.define_verify_flag()
command_line.define_host_flags()


def main() -> int:
    """Runs the job so that Ctrl-C and SIGTERM leave something to continue from."""
    from dreamda_jax.runtime import distributed, interrupt

    config, dry_run = command_line.read_config(), flags.FLAGS.dry_run
    job = functools.partial(_train, config, dry_run, verify=flags.FLAGS.verify)
    hosts = distributed.Flags(**command_line.host_flags())
    return interrupt.exit_code(distributed.together(job, hosts))


def _train(
    config: dict[str, Any], dry_run: bool, stop: threading.Event, *, verify: bool = False
) -> int | None:
    from dreamda_jax.data.files import staging
    from dreamda_jax.runtime import distributed

    with staging.mirrored(config["train"]["output"], **distributed.mirroring()):
        return _train_here(config, dry_run, stop, verify=verify)


def _train_here(
    config: dict[str, Any], dry_run: bool, stop: threading.Event, *, verify: bool = False
) -> int | None:
    from dreamda_jax.data.files import run_directory, staging
    from dreamda_jax.runtime import changed_images, devices, distributed
    from dreamda_jax.train import build
    from dreamda_jax.train.check_classes import check_classes
    from dreamda_jax.train.methods import open_method
    from dreamda_jax.train.output import RESULT

    parts = build.training(config, verify=verify)
    output = staging.local(parts.job.output)
    for line in check_classes(parts, begun=run_directory.has_begun(output)):
        print(line)
    print("\n".join([_summary(parts), *parts.notes]), flush=True)
    changed_images.refuse_changed(output, parts.settings, parts.sets, option="train.output")
    run_directory.check_settings(output, parts.settings, defaults=parts.defaults)
    if dry_run:
        return 0
    distributed.check_shared(output)
    results: list[RunResult] = []
    with run_directory.open_run(
        output, parts.settings, defaults=parts.defaults, process_index=devices.process_index()
    ) as opened:
        if not all((output / f"run-{i}" / RESULT).exists() for i in range(parts.job.num_runs)):
            opened.require_writable()
        if not opened.read_only and not devices.process_index():
            changed_images.remember(output, parts.sets)
        method = open_method(parts)
        for run in range(parts.job.num_runs):
            print(f"run {run}       seed {parts.job.seed + run}", flush=True)
            result = method.train(run, stop)
            if result is None:
                return None
            results.append(result)
        _finish(parts, results, writes=not opened.read_only and not devices.process_index())
    return 0


def _summary(parts: "build.Training") -> str:
    import jax

    from dreamda_jax.algorithms import random_key
    from dreamda_jax.runtime import devices, flops
    from dreamda_jax.runtime.state import initial_variables
    from dreamda_jax.train import programs, summary
    from dreamda_jax.train.duration import time_of_training
    from dreamda_jax.train.methods import describe

    module = programs.open_module(parts)
    variables = jax.eval_shape(
        functools.partial(initial_variables, module, image_size=parts.image_size),
        random_key.key(0),
    )
    images = jax.ShapeDtypeStruct((1, parts.image_size, parts.image_size, 3), jax.numpy.float32)
    forward = flops.count_flops(functools.partial(module.apply, train=False), variables, images)
    recipe, description = parts.recipe, describe(parts)
    source = parts.real or parts.synthetic
    assert source is not None
    return summary.start(
        devices=devices.describe_devices(),
        classifier=parts.classifier.name,
        num_params=sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        weights=parts.weights or "scratch",
        num_real=len(parts.real) if parts.real else 0,
        num_synthetic=len(parts.synthetic) if parts.synthetic else 0,
        source=source,
        resolution=parts.image_size,
        num_runs=parts.job.num_runs,
        num_steps=parts.num_steps,
        num_epochs=parts.num_steps * recipe.batch_size / parts.epoch_images,
        batch_size=recipe.batch_size,
        optimizer=f"{recipe.optimizer}, learning rate {recipe.learning_rate:g}",
        schedule=recipe.schedule,
        method=description.text,
        forward_flops=forward,
        num_views=description.num_views,
        time=time_of_training(parts, description, forward_flops=forward),
        output=parts.job.output,
    )


def _finish(parts: "build.Training", results: "list[RunResult]", *, writes: bool) -> None:
    from dreamda_jax.data.files import atomic, staging
    from dreamda_jax.train import summary

    output = staging.local(parts.job.output)
    if writes:
        rows = {"runs": [result._asdict() for result in results]}
        atomic.write_atomically(output / "results.json", atomic.to_json(rows))
    measured_on = "test" if parts.test else "validation"
    for line in summary.collapsed(results, measured_on=measured_on):
        print(line)
    print(summary.closing_table(results, measured_on=measured_on))
    print(f"done        {output / 'results.json'}; look at {output / 'run-0' / 'confusion.png'}")


if __name__ == "__main__":
    command_line.run(main, functools.partial(help.text, "train"))
