"""Sheets of pictures from fixed prompts and fixed noise, so that they can be compared over time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamda_jax.algorithms import random_key
from dreamda_jax.data.drawing import INK, PAPER, drawable, fit, save_png, thumbnail
from dreamda_jax.finetune.programs import Programs
from dreamda_jax.finetune.summary import divergence_advice
from dreamda_jax.options.finetune import Finetune
from dreamda_jax.runtime import devices as meshes
from dreamda_jax.runtime.loop import Diverged
from dreamda_jax.runtime.state import TrainState

_DIRECTORY = "samples"


_CELL, _GAP, _TEXT, _COLUMNS = 160, 6, 20, 8


class Pictures:
    """Draws `samples/step-<n>.png`.

    Args:
      output: of the run.
      programs: compiled for it.
      frozen: as the step's, and "vae".
      prompts: one for each class.
      text: contexts or token ids [p, ...].
      text_rows: for each class the place of its prompt in `text`.
      job: how many pictures, and from which noise.
      latent_shape: of a picture.
    """

    def __init__(
        self,
        output: Path,
        programs: Programs,
        frozen: Mapping[str, Any],
        *,
        prompts: Sequence[str],
        text: np.ndarray,
        text_rows: Sequence[int],
        job: Finetune,
        latent_shape: tuple[int, ...],
    ) -> None:
        self._output, self._programs, self._frozen = output, programs, frozen
        self._clip_norm = job.clip_norm
        classes = spread(job.num_samples, len(prompts))
        self._prompts = [prompts[label] for label in classes]
        # Padded so that all devices have as many.
        devices = programs.mesh.size
        padded = classes + [0] * (-len(classes) % devices)
        self._text = text[[text_rows[label] for label in padded]]
        keys = [jax.random.fold_in(random_key.key(job.seed), place) for place in range(len(padded))]
        self._noise = np.array([jax.random.normal(key, latent_shape, jnp.float32) for key in keys])

    def file(self, step: int) -> Path:
        """The sheet of a step."""
        return self._output / _DIRECTORY / f"step-{step:06d}.png"

    def draw(self, state: TrainState) -> dict[str, float]:
        """Writes the sheet of a state; there are no metrics of it.

        Raises:
          Diverged: what the network makes are no numbers.
        """
        if self._prompts:
            mesh = self._programs.mesh
            rows = (meshes.local_rows(self._noise), meshes.local_rows(np.asarray(self._text)))
            noise, text = meshes.global_rows(mesh, rows)
            trained = state.variables["params"]
            made, finite = meshes.to_host(
                self._programs.pictures(self._frozen, trained, noise, text)
            )
            if not finite:
                advice = divergence_advice(clip_norm=self._clip_norm)
                raise Diverged(
                    f"training diverged: what the model of step {int(state.step):,} makes of a "
                    f"prompt are no numbers, and no checkpoint of it is kept. {advice}"
                )
            if meshes.process_index() == 0:
                pictures = made[: len(self._prompts)]
                sample_sheet(pictures, self._prompts, self.file(int(state.step)))
        return {}


def spread(count: int, num_classes: int) -> list[int]:
    """Classes of `count` pictures: all in turn, or if there are more, evenly spread ones."""
    if count >= num_classes:
        return [place % num_classes for place in range(count)]
    return [place * num_classes // count for place in range(count)]


def sample_sheet(pictures: np.ndarray, prompts: Sequence[str], path: Path) -> None:
    """Writes the sheet as PNG, replacing an older one in one step.

    Args:
      pictures: uint8 [n, h, w, 3], at least one.
      prompts: one for each.
      path: of the file; its directory is made.
    """
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    step = (_CELL + _GAP, _CELL + _TEXT + _GAP)
    sheet = Image.new("RGB", (columns * step[0] + _GAP, rows * step[1] + _GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for place, (pixels, prompt) in enumerate(zip(pictures, prompts, strict=True)):
        left, top = _GAP + place % columns * step[0], _GAP + place // columns * step[1]
        sheet.paste(thumbnail(Image.fromarray(pixels), _CELL), (left, top))
        text = fit(drawable(prompt), font, _CELL)
        draw.text((left + _CELL // 2, top + _CELL + 2), text, fill=INK, font=font, anchor="ma")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(sheet, path)
