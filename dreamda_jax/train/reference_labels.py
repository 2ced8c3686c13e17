"""What others say of every synthetic image: CLIP without training, and an oracle."""

import functools
import threading
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from dreamda_jax.data import prompts
from dreamda_jax.data.files import staging
from dreamda_jax.models.classifiers.oracle import open_oracle
from dreamda_jax.models.clip import encoder as clip
from dreamda_jax.runtime import devices, image_sweep
from dreamda_jax.train.build import Training
from dreamda_jax.train.output import whole_set_view


def clip_probabilities(
    parts: Training, mesh: jax.sharding.Mesh, stop: threading.Event
) -> dict[str, np.ndarray] | None:
    """CLIP's "probabilities" float32 [n, c] of the classes of every synthetic image.

    With what `image_sweep.sweep` adds; kept in `output/clip/` for all runs. None if `stop` was set.

    Raises:
      UserError: see `clip.encoder.open_zero_shot`.
    """
    assert parts.self_training is not None
    assert parts.synthetic is not None
    settings = parts.self_training.clip
    zero_shot = clip.open_zero_shot(
        settings.path,
        prompts=prompts.class_prompts(parts.label_names, settings.template),
        revision=settings.revision,
        place=_on(mesh),
    )
    classify = jax.jit(zero_shot.classify)
    return image_sweep.sweep(
        mesh,
        parts.synthetic,
        lambda images, _: {"probabilities": classify(zero_shot.params, images)},
        view=whole_set_view(parts, parts.synthetic, resolution=zero_shot.image_size),
        directory=staging.local(parts.job.output) / "clip",
        stop=stop,
        note="CLIP zero-shot",
    )


class OracleLabels(NamedTuple):
    """An oracle's word on every synthetic image."""

    classes: np.ndarray
    """int32 [n]; -1 where the image cannot be decoded."""
    digest: str
    """Of the oracle."""


def oracle_labels(
    parts: Training, mesh: jax.sharding.Mesh, stop: threading.Event
) -> OracleLabels | None:
    """What the oracle of `audit.oracle` takes every synthetic image for.

    Kept in `output/oracle-<digest>/` for all runs. None if `stop` was set.

    Raises:
      UserError: see `oracle.open_oracle`.
    """
    assert parts.self_training is not None
    assert parts.synthetic is not None
    assert parts.self_training.audit.oracle is not None
    known = open_oracle(parts.self_training.audit.oracle, parts.label_names, place=_on(mesh))
    classify = jax.jit(known.classify)
    found = image_sweep.sweep(
        mesh,
        parts.synthetic,
        lambda images, _: {"classes": classify(known.variables, images)},
        view=whole_set_view(parts, parts.synthetic, resolution=known.image_size),
        directory=staging.local(parts.job.output) / f"oracle-{known.digest[:8]}",
        stop=stop,
        note="oracle",
    )
    if found is None:
        return None
    return OracleLabels(np.where(found["decoded"], found["classes"], -1), known.digest)


def _on(mesh: jax.sharding.Mesh) -> Callable[[np.ndarray], jax.Array]:
    return functools.partial(devices.place, sharding=devices.replicated(mesh))
