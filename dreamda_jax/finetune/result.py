"""What a finished fine-tuning leaves: a checkpoint in diffusers' layout, and adapters' files."""

import functools
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from dreamda_jax.data.files import atomic, json_text
from dreamda_jax.data.files.digests import sha256_of
from dreamda_jax.errors import UserError
from dreamda_jax.finetune.adaptation import EMBEDDINGS
from dreamda_jax.finetune.vocabulary import Vocabulary
from dreamda_jax.models.clip.config import with_vocabulary
from dreamda_jax.models.stable_diffusion import adapter_files, loading, lora, textual_inversion
from dreamda_jax.models.stable_diffusion.checkpoint_files import CheckpointFiles
from dreamda_jax.models.stable_diffusion.checkpoint_writer import write_checkpoint
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.options.finetune import Finetune
from dreamda_jax.types import Params

PROMPTS = "prompts.jsonl"
RESULT = "result.json"
_PARTS = (  # of a result; the rest of the directory is the run's
    *("model_index.json", "unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    *(adapter_files.LORA_FILE, adapter_files.TOKENS, PROMPTS),
)


def is_complete(output: Path, *, num_steps: int) -> bool:
    """Whether a directory holds a finished result whose files are as they were written.

    What is missing or changed is named; it can be written again from the last step's checkpoint.

    Raises:
      UserError: there is no such checkpoint any more.
    """
    try:
        written = json_text.parse((output / RESULT).read_bytes())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    found = _sums(output)
    wrong = sorted(name for name in written if found.get(name) != written[name])
    for name in wrong:
        state = "changed" if name in found else "missing"
        print(f"damaged     {output / name} is {state}", flush=True)
    if wrong and not (output / "checkpoints" / str(num_steps)).exists():
        raise UserError(
            f"{output} is no longer the result that was written, and the last checkpoint, to write "
            f"it again, is not there. Restore the files, or remove {output / RESULT} to train "
            "again."
        )
    return not wrong


def write_result(
    output: Path,
    trained: Params,
    model: StableDiffusion,
    files: CheckpointFiles,
    *,
    job: Finetune,
    vocabulary: Vocabulary,
    class_prompts: Mapping[str, str],
    scheduler: Mapping[str, Any],
    told: Mapping[str, Any],
) -> None:
    """Writes the checkpoint into a directory, and last of all `result.json`.

    Args:
      output: the directory.
      trained: parameters of the job's adaptation, float32 numpy.
      model: the networks that it started from.
      files: theirs.
      job: how they were trained.
      vocabulary: what prompts were encoded with.
      class_prompts: by class the prompt it was trained with.
      scheduler: fields of the noise schedule that were given.
      told: what else `result.json` is to tell.

    Raises:
      UserError: the disk is full.
    """
    for directory in (output, *(output / part for part in _PARTS)):
        atomic.remove_leftovers(directory)  # of a process that was killed while it wrote
    on_host: Any = np.asarray  # nothing here is computed on a device
    load = functools.partial(loading.load_component, model, files, dtype=jnp.float32, place=on_host)
    changed: dict[str, Params] = {}
    replaced: dict[str, Any] = {}
    if job.method == "full":
        changed["unet"] = trained
    elif job.method == "lora":
        scale = job.lora_alpha / job.lora_rank
        adapter_files.write_lora(output, trained, rank=job.lora_rank, alpha=job.lora_alpha)
        changed["unet"] = lora.merge(load("unet"), trained, scale=scale)
    else:
        rows: Any = trained[EMBEDDINGS]
        adapter_files.write_tokens(output, vocabulary.tokens, rows)
        changed["text_encoder"] = textual_inversion.with_rows(load("text_encoder"), rows)
        replaced["tokenizer"] = vocabulary.model.tokenizer
        config = read_json(files.text_encoder.config)
        replaced["text_config"] = with_vocabulary(config, vocabulary.model.vocabulary)
        lines = adapter_files.class_prompt_lines(tuple(class_prompts), [*class_prompts.values()])
        atomic.write_atomically(output / PROMPTS, lines)
    replaced["scheduler"] = scheduler
    write_checkpoint(output, files, changed=changed, load=load, **replaced)
    content = {**told, "sha256": _sums(output)}
    atomic.write_atomically(output / RESULT, atomic.to_json(content))


def arguments_of(output: Path, job: Finetune, prompt: Mapping[str, Any]) -> str:
    """What to add to a `generate` command: the model, and the prompts that it was trained with.

    Args:
      output: where the result lies.
      job: how it was trained.
      prompt: section "prompt".
    """
    arguments = {"model.path": str(output)}
    if job.method == "textual_inversion":
        arguments["prompt.file"] = str(output / PROMPTS)
    else:
        arguments |= {f"prompt.{name}": value for name, value in prompt.items() if value}
    arguments["output.path"] = f"{output}_set"
    return " ".join(f"--config.{name}={shlex.quote(arguments[name])}" for name in arguments)


def how_to_use(output: Path) -> str:
    """What to add to a `generate` command to use a finished result."""
    return json_text.parse((output / RESULT).read_bytes())["use"]


def _sums(output: Path) -> dict[str, str]:
    """Sha256 of every file of the result, by its path in `output`."""
    files: list[Path] = []
    for part in _PARTS:
        path = output / part
        files += sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        str(file.relative_to(output)): sha256_of(file)
        for file in files
        if file.is_file() and not file.name.startswith(atomic.PREFIX)
    }
