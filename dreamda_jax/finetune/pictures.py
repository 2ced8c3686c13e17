"""Sheets of pictures from fixed prompts and fixed noise, so that they can be compared over time."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.finetune.build import Finetuning
from dreamda_jax.finetune.prepare import Prepared
from dreamda_jax.finetune.programs import Programs
from dreamda_jax.finetune.sample_sheet import sample_sheet
from dreamda_jax.finetune.summary import divergence_advice
from dreamda_jax.runtime import devices as meshes
from dreamda_jax.runtime.loop import Diverged
from dreamda_jax.runtime.state import TrainState

_DIRECTORY = "samples"


class Pictures:
    """Draws `samples/step-<n>.png`.

    Args:
      parts: the job.
      programs: compiled for it.
      prepared: with the class prompts.
      frozen: as the step's.
    """

    def __init__(
        self, parts: Finetuning, programs: Programs, prepared: Prepared, frozen: dict[str, Any]
    ) -> None:
        self._parts, self._programs = parts, programs
        self._frozen = {**frozen, "vae": prepared.vae}
        classes = spread(parts.job.num_samples, len(parts.class_prompts))
        self._prompts = [parts.class_prompts[label] for label in classes]
        # Padded so that all devices have as many.
        devices = programs.mesh.size
        padded = classes + [0] * (-len(classes) % devices)
        self._text = prepared.text[[prepared.class_prompts[label] for label in padded]]
        self._noise = np.array([self._draw_noise(place) for place in range(len(padded))])

    def _draw_noise(self, place: int) -> np.ndarray:
        shape = self._parts.model.latent_shape(self._parts.view.resolution)
        key = jax.random.fold_in(jax.random.key(self._parts.job.seed), place)
        return np.asarray(jax.random.normal(key, shape, jnp.float32))

    def file(self, step: int) -> Path:
        """The sheet of a step."""
        return self._parts.output / _DIRECTORY / f"step-{step:06d}.png"

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
                advice = divergence_advice(clip_norm=self._parts.job.clip_norm)
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
