"""What others say of every synthetic image: CLIP without training, and an oracle."""

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamda_jax import image_sweep
from dreamda_jax import mesh as meshes
from dreamda_jax.build_training import Training
from dreamda_jax.data import prompts
from dreamda_jax.data.augment import policy
from dreamda_jax.data.classes import label_mapping
from dreamda_jax.models import clip
from dreamda_jax.models.classifiers import pretrained

_SAMPLE_ORACLE = Path(__file__).parent / "sample" / "oracle"


def clip_probabilities(
    parts: Training, mesh: jax.sharding.Mesh, stop: threading.Event
) -> dict[str, np.ndarray] | None:
    """CLIP's "probabilities" float32 [n, c] of the classes of every synthetic image.

    With what `image_sweep.sweep` adds; kept in `output/clip/` for all runs. None if `stop` was set.

    Raises:
      UserError: see `clip.open_zero_shot`.
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
        parts,
        mesh,
        parts.synthetic,
        lambda images, _: {"probabilities": classify(zero_shot.params, images)},
        resolution=zero_shot.image_size,
        directory=Path(parts.job.output) / "clip",
        stop=stop,
        note="CLIP zero-shot",
    )


def oracle_classes(
    parts: Training, mesh: jax.sharding.Mesh, stop: threading.Event
) -> np.ndarray | None:
    """int32 [n]: what the oracle takes every synthetic image for; -1 where it cannot be decoded.

    Kept in `output/oracle/` for all runs. None if `stop` was set.

    Raises:
      UserError: no such classifier, or one of other classes.
    """
    assert parts.self_training is not None
    assert parts.synthetic is not None
    path = parts.self_training.audit.oracle
    assert path is not None
    directory = _SAMPLE_ORACLE if path == "sample" else Path(path)
    module, variables, config = pretrained.open_classifier(directory, place=_on(mesh))
    names = label_mapping(parts.label_names, config.label_names, what=f"the oracle {path}")

    def classify(variables: Any, images: jax.Array) -> jax.Array:
        view = policy.eval_view(images, size=config.image_size, mean=config.mean, std=config.std)
        logits: Any = module.apply(variables, view, train=False)
        return logits.argmax(-1)

    compiled = jax.jit(classify)
    found = image_sweep.sweep(
        parts,
        mesh,
        parts.synthetic,
        lambda images, _: {"classes": compiled(variables, images)},
        resolution=config.image_size,
        directory=Path(parts.job.output) / "oracle",
        stop=stop,
        note="oracle",
    )
    if found is None:
        return None
    return np.where(found["decoded"], np.array(names, np.int32)[found["classes"]], -1)


def _on(mesh: jax.sharding.Mesh) -> Callable[[np.ndarray], jax.Array]:
    return functools.partial(jax.device_put, device=meshes.replicated(mesh))
