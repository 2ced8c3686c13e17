"""LoRA adapters and learnt tokens in the files that diffusers' pipelines load."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dreamda_jax.data.sources.labels import slug
from dreamda_jax.models.stable_diffusion.checkpoint_writer import write_tensors
from dreamda_jax.models.stable_diffusion.lora import Adapters
from dreamda_jax.models.weights.torch_layout import torch_name

LORA_FILE = "pytorch_lora_weights.safetensors"
TOKENS = "textual_inversion"


def lora_tensors(adapters: Adapters, *, scale: float) -> dict[str, np.ndarray]:
    """What `StableDiffusionPipeline.load_lora_weights` reads.

    diffusers takes a file without further word to have α = r, so α/r is put into "up": the same
    update, whoever loads it.

    Args:
      adapters: {path: {"down": [i, r], "up": [r, o]}}, numpy.
      scale: α/r.

    Returns:
      float32; "…lora.down.weight" [r, i] and "…lora.up.weight" [o, r].
    """
    tensors = {}
    for path, adapter in adapters.items():
        layer = torch_name((*path.split("/"), "kernel")).removesuffix(".weight")
        tensors[f"unet.{layer}.lora.down.weight"] = np.ascontiguousarray(adapter["down"].T)
        tensors[f"unet.{layer}.lora.up.weight"] = np.ascontiguousarray(
            (np.float32(scale) * adapter["up"]).T
        )
    return tensors


def write_lora(directory: Path, adapters: Adapters, *, rank: int, alpha: float) -> Path:
    """Writes `pytorch_lora_weights.safetensors`; returns its path."""
    file = directory / LORA_FILE
    note = {"trained_with": json.dumps({"rank": rank, "alpha": alpha, "saved_with_alpha": rank})}
    write_tensors(file, lora_tensors(adapters, scale=alpha / rank), note)
    return file


def write_tokens(directory: Path, tokens: Sequence[Sequence[str]], rows: np.ndarray) -> list[Path]:
    """Writes `textual_inversion/<class>.safetensors` for each class.

    That is what `StableDiffusionPipeline.load_textual_inversion` reads: one token, [d] or, of
    several vectors, [n, d].

    Args:
      directory: the parent.
      tokens: the tokens of each class, the first of which names it.
      rows: float32 [all tokens, d], in their order.

    Returns:
      The files, in the order of the classes.
    """
    files, first = [], 0
    for own in tokens:
        embedding = rows[first : first + len(own)]
        first += len(own)
        tensor = embedding[0] if len(own) == 1 else embedding
        file = directory / TOKENS / f"{slug(own[0].strip('<>'))}.safetensors"
        write_tensors(file, {own[0]: np.ascontiguousarray(tensor)})
        files.append(file)
    return files


def class_prompt_lines(label_names: Sequence[str], prompts: Sequence[str]) -> bytes:
    """A prompt file (`prompt.file`) with one prompt for each class."""
    rows: list[Mapping[str, str]] = [
        {"class": name, "prompt": prompt} for name, prompt in zip(label_names, prompts, strict=True)
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
