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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from dreamda_jax.options import help
from dreamda_jax.settings import command_line

if TYPE_CHECKING:  # JAX and Flax take seconds that --help should not cost
    from dreamda_jax.train.methods import AnySetup
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
    from dreamda_jax.train.images import ConfiguredImages
    from dreamda_jax.train.methods import open_method
    from dreamda_jax.train.output import RESULT

    setup = build.training(config, images=ConfiguredImages(config, verify=verify))
    job, identity = setup.job, setup.identity
    output = staging.local(job.output)
    begun, held_out = run_directory.has_begun(output), setup.held_out
    for line in check_classes(setup.real, setup.synthetic, held_out, begun=begun):
        print(line)
    print("\n".join([_summary(setup, output), *setup.warnings]), flush=True)
    changed_images.refuse_changed(output, identity.settings, identity.sets, option="train.output")
    run_directory.check_settings(output, identity.settings, defaults=identity.defaults)
    if dry_run:
        return 0
    distributed.check_shared(output)
    results: list[RunResult] = []
    index, settings = devices.process_index(), identity.settings
    with run_directory.open_run(
        output, settings, defaults=identity.defaults, process_index=index
    ) as opened:
        if not all((output / f"run-{i}" / RESULT).exists() for i in range(job.num_runs)):
            opened.require_writable()
        writes = not opened.read_only and not index
        if writes:
            changed_images.remember(output, identity.sets)
        method = open_method(setup)
        for run in range(job.num_runs):
            print(f"run {run}       seed {job.seed + run}", flush=True)
            result = method.train(run, stop)
            if result is None:
                return None
            results.append(result)
        _finish(output, results, measured_on=held_out.measured_on[0], writes=writes)
    return 0


def _summary(setup: "AnySetup", output: Path) -> str:
    from dreamda_jax.runtime import devices
    from dreamda_jax.train import summary
    from dreamda_jax.train.duration import time_of_training

    network, recipe, described = setup.network, setup.recipe, setup.describe()
    num_params, forward_flops = network.size()
    return summary.start(
        devices=devices.describe_devices(),
        classifier=network.options.name,
        num_params=num_params,
        weights=network.weights or "scratch",
        num_real=len(setup.real or ()),
        num_synthetic=len(setup.synthetic or ()),
        source=setup.shown,
        resolution=network.image_size,
        num_runs=setup.job.num_runs,
        num_steps=setup.length.num_steps,
        num_epochs=setup.length.num_steps * recipe.batch_size / setup.length.epoch_images,
        batch_size=recipe.batch_size,
        optimizer=f"{recipe.optimizer}, learning rate {recipe.learning_rate:g}",
        schedule=recipe.schedule,
        method=described.text,
        forward_flops=forward_flops,
        num_views=described.num_views,
        time=time_of_training(
            described,
            output=output,
            num_runs=setup.job.num_runs,
            notes_of=setup.notes_of,
            forward_flops=forward_flops,
            dtype=network.options.dtype,
        ),
        output=setup.job.output,
    )


def _finish(output: Path, results: "list[RunResult]", *, measured_on: str, writes: bool) -> None:
    from dreamda_jax.data.files import atomic
    from dreamda_jax.train import summary

    if writes:
        rows = {"runs": [result._asdict() for result in results]}
        atomic.write_atomically(output / "results.json", atomic.to_json(rows))
    for line in summary.collapsed(results, measured_on=measured_on):
        print(line)
    print(summary.closing_table(results, measured_on=measured_on))
    print(f"done        {output / 'results.json'}; look at {output / 'run-0' / 'confusion.png'}")


if __name__ == "__main__":
    command_line.run(main, functools.partial(help.text, "train"))
