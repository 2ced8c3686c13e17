"""What a finished fine-tuning leaves: a checkpoint in diffusers' layout, and adapters' files."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from dreamda_jax.data import atomic
from dreamda_jax.finetuning.build import Finetuning
from dreamda_jax.finetuning.new_tokens import EMBEDDINGS
from dreamda_jax.models import adapter_files, loading, lora, textual_inversion
from dreamda_jax.models.checkpoint_files import read_json
from dreamda_jax.models.checkpoint_writer import write_checkpoint
from dreamda_jax.types import Params

PROMPTS = "prompts.jsonl"


def write_result(parts: Finetuning, trained: Params) -> str:
    """Writes the checkpoint into `parts.output`.

    Args:
      parts: the job.
      trained: parameters of its adaptation, float32 numpy.

    Returns:
      What to add to a `generate` command to use it.

    Raises:
      UserError: the disk is full.
    """
    job, output = parts.job, parts.output
    on_host: Any = np.asarray  # nothing here is computed on a device
    load = functools.partial(
        loading.load_component, parts.model, parts.files, dtype=jnp.float32, place=on_host
    )
    changed: dict[str, Params] = {}
    arguments = f"--config.model.path={output}"
    replaced: dict[str, Any] = {}
    if job.method == "full":
        changed["unet"] = trained
    elif job.method == "lora":
        scale = job.lora_alpha / job.lora_rank
        adapter_files.write_lora(output, trained, rank=job.lora_rank, alpha=job.lora_alpha)
        changed["unet"] = lora.merge(load("unet"), trained, scale=scale)
    else:
        rows: Any = trained[EMBEDDINGS]
        adapter_files.write_tokens(output, parts.tokens, rows)
        changed["text_encoder"] = textual_inversion.with_rows(load("text_encoder"), rows)
        replaced["tokenizer"] = parts.text_model.tokenizer
        config = read_json(parts.files.text_encoder.config)
        replaced["text_config"] = {**config, "vocab_size": parts.text_model.vocabulary}
        lines = adapter_files.class_prompt_lines(parts.source.label_names, parts.class_prompts)
        atomic.write_atomically(output / PROMPTS, lines)
        arguments += f" --config.prompt.file={output / PROMPTS}"
    write_checkpoint(output, parts.files, changed=changed, load=load, **replaced)
    return arguments
