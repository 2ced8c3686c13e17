"""What others say of every synthetic image: CLIP without training, and an oracle."""

import functools
import threading
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dreamda_jax.data import prompts, sources
from dreamda_jax.models.classifiers.oracle import open_oracle
from dreamda_jax.models.clip import encoder as clip
from dreamda_jax.options.checkpoints import Clip
from dreamda_jax.runtime import devices, image_sweep
from dreamda_jax.train.output import whole_set_view
from dreamda_jax.train.setups import Reading


class OracleLabels(NamedTuple):
    """An oracle's word on every synthetic image."""

    classes: np.ndarray
    """int32 [n]; -1 where the image cannot be decoded."""
    digest: str
    """Of the oracle."""


class ReferenceLabels:
    """Asks others about every image of a set; what they said is kept for all runs of a job.

    Args:
      source: the synthetic set.
      label_names: the classes to choose among.
      reading: how images are read.
      mesh: whose devices share each batch.
      output: the directory that answers are kept in.
    """

    def __init__(
        self,
        source: sources.Source,
        *,
        label_names: tuple[str, ...],
        reading: Reading,
        mesh: jax.sharding.Mesh,
        output: Path,
    ) -> None:
        self._source = source
        self._label_names = label_names
        self._reading = reading
        self._mesh = mesh
        self._output = output
        self._place = functools.partial(devices.place, sharding=devices.replicated(mesh))

    def clip(self, settings: Clip, stop: threading.Event) -> dict[str, np.ndarray] | None:
        """CLIP's "probabilities" float32 [n, c] of the classes, without training.

        With what `image_sweep.sweep` adds; kept in `output/clip/`. None if `stop` was set.

        Args:
          settings: section "clip".
          stop: ends it.

        Raises:
          UserError: see `clip.encoder.open_zero_shot`.
        """
        zero_shot = clip.open_zero_shot(
            settings.path,
            prompts=prompts.class_prompts(self._label_names, settings.template),
            revision=settings.revision,
            place=self._place,
        )
        classify = jax.jit(zero_shot.classify)
        return self._sweep(
            lambda images, _: {"probabilities": classify(zero_shot.params, images)},
            resolution=zero_shot.image_size,
            directory=self._output / "clip",
            stop=stop,
            note="CLIP zero-shot",
        )

    def oracle(self, path: str, stop: threading.Event) -> OracleLabels | None:
        """What an oracle takes the images for.

        Kept in `output/oracle-<digest>/`. None if `stop` was set.

        Args:
          path: see `oracle.open_oracle`.
          stop: ends it.

        Raises:
          UserError: see `oracle.open_oracle`.
        """
        known = open_oracle(path, self._label_names, place=self._place)
        classify = jax.jit(known.classify)
        found = self._sweep(
            lambda images, _: {"classes": classify(known.variables, images)},
            resolution=known.image_size,
            directory=self._output / f"oracle-{known.digest[:8]}",
            stop=stop,
            note="oracle",
        )
        if found is None:
            return None
        return OracleLabels(np.where(found["decoded"], found["classes"], -1), known.digest)

    def _sweep(
        self, predict: image_sweep.Predict, *, resolution: int, **options: Any
    ) -> dict[str, np.ndarray] | None:
        view = whole_set_view(self._reading, self._source, resolution=resolution)
        return image_sweep.sweep(self._mesh, self._source, predict, view=view, **options)
