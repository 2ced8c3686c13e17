"""Makes runs that are stopped before their end, with the dreamda_jax of the working directory.

    cd CHECKOUT_OF_0.1 && python tests/support/runs/make_runs.py tests/support/runs/v0_1

v0_1/ was made so at commit 395a84c; names of modules are those of that version.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(sys.argv[1]).resolve()
CHECKOUT = Path.cwd()
sys.path[:0] = [str(Path(__file__).parent), str(CHECKOUT)]

from commands import COMMANDS, CONFIG  # noqa: E402

# The entry point's own loop, but for a wish to stop that comes after so many questions.
STOPPED = """
import runpy, sys, threading
from dreamda_jax import interrupt
class StopAfter(threading.Event):
    left = int(sys.argv.pop(1))
    def is_set(self):
        self.left -= 1
        return self.left < 0
interrupt.exit_code = lambda job: job(StopAfter()) or 0
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def run(name: str, *more: str, stop_after: int = 10**9) -> None:
    """Runs a command of `COMMANDS` here; `more` are further arguments."""
    module, *arguments = COMMANDS[name]
    config = f"--config=configs/{CONFIG}.py"
    subprocess.run(
        [
            *(sys.executable, "-c", STOPPED, str(stop_after), f"dreamda_jax.{module}"),
            *(config, *arguments, *more),
        ],
        cwd=HERE,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), "JAX_PLATFORMS": "cpu"},
        check=True,
    )


def make_inputs() -> None:
    """The model, and three images of three classes for training, one for the test."""
    from tests.models.make_checkpoint import TINY_SD2, make_checkpoint
    from tests.small_training import make_folder

    if not (HERE / "images").exists():
        make_folder(HERE / "images" / "train", split="train", per_class=2)
        make_folder(HERE / "images" / "test", split="test", per_class=1)
    if not (HERE / "model").exists():
        blocks = {"block_out_channels": [32, 32]}
        make_checkpoint(
            HERE / "model",
            unet_config={
                **(TINY_SD2.unet | blocks),
                "attention_head_dim": 1,
                "layers_per_block": 1,
                "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
                "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
                "sample_size": 4,
            },
            vae_config={
                **TINY_SD2.vae,
                "block_out_channels": [8, 8],
                "down_block_types": ["DownEncoderBlock2D"] * 2,
                "up_block_types": ["UpDecoderBlock2D"] * 2,
                "sample_size": 8,
            },
            text_config={**TINY_SD2.text_encoder, "num_hidden_layers": 1},
            scheduler_config={**TINY_SD2.scheduler, "prediction_type": "epsilon"},
            dtype="float16",
        )


def make_weights() -> None:
    """A classifier's, whose kernels are zero so that its checkpoints compress to nearly nothing."""
    from safetensors.numpy import load_file, save_file

    if (HERE / "weights").exists():
        return
    scratch = ("--config.classifier.weights=scratch", "--config.train.num_steps=2")
    run("train", *scratch, "--config.train.output=start")
    made = HERE / "start" / "run-0" / "classifier"
    arrays = load_file(made / "model.safetensors")
    for name, array in arrays.items():
        arrays[name] = np.where(array.ndim > 1, 0, array).astype(array.dtype)
    (HERE / "weights").mkdir()
    save_file(arrays, HERE / "weights" / "model.safetensors")
    shutil.rmtree(HERE / "start")


def take_away(directory: Path, expected: Path) -> None:
    """Moves the middle shard of a finished set, and forgets that the set was finished."""
    for file in [*directory.glob("*array_record-00001-*"), *directory.glob("done/00001*")]:
        expected.mkdir(exist_ok=True)
        shutil.move(file, expected / file.name)
    for name in ("dataset_info.json", "features.json", "contact_sheet.png"):
        (directory / name).unlink(missing_ok=True)


def resolved_configs() -> dict[str, object]:
    """What every configuration says, by its name and the method after the colon."""
    import importlib

    from configs import methods

    found = {}
    for file in sorted((CHECKOUT / "configs").glob("*.py")):
        module = importlib.import_module(f"configs.{file.stem}")
        if file.stem == "defaults" or not hasattr(module, "get_config"):
            continue
        for method in methods._METHODS:
            found[f"{file.stem}:{method}"] = module.get_config(method).to_dict()
    return found


def main() -> None:
    HERE.mkdir(exist_ok=True)
    shutil.copytree(CHECKOUT / "configs", HERE / "configs", dirs_exist_ok=True)
    make_inputs()
    make_weights()
    for name in ("generate", "whole", "train", "amst", "finetune", "reproduce"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    run("generate")
    shutil.copytree(HERE / "generate", HERE / "whole")
    take_away(HERE / "generate", HERE / "expected")
    run("train", stop_after=2)
    run("amst", stop_after=5)
    run("finetune", stop_after=2)
    run("prompts")
    lines = (HERE / "prompts.jsonl").read_text().splitlines(keepends=True)
    (HERE / "prompts.jsonl").write_text("".join(lines[:-3]))
    run("reproduce", stop_after=3)
    (HERE / "reproduce" / "cells" / "scale_0" / "report" / "report.html").unlink()
    for name in ("latents", "features", "configs", *HERE.rglob("tensorboard")):
        shutil.rmtree(HERE / name, ignore_errors=True)
    for lock in HERE.rglob(".*.lock"):  # names the machine
        lock.unlink()
    for lock in HERE.rglob(".lock-*"):
        lock.unlink()
    (HERE / "configs.json").write_text(json.dumps(resolved_configs(), sort_keys=True))


if __name__ == "__main__":
    main()
