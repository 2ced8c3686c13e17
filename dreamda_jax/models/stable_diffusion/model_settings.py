"""Section "model" among the settings that decide what a run makes: recorded, and compared."""

from collections.abc import Mapping
from typing import Any

from dreamda_jax.models.stable_diffusion import scheduler_config
from dreamda_jax.models.stable_diffusion.checkpoint_files import CheckpointFiles
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.options.checkpoints import Model
from dreamda_jax.settings import binding

_NOT_THE_RESULT = ("path", "variant")  # a checkpoint may be moved; its bytes are compared


def of_run(section: Mapping[str, Any], model: StableDiffusion) -> dict[str, Any]:
    """What decides the output, for a run's config.json.

    The noise schedule is there as it is used, whether the checkpoint says so, a correction, or the
    configuration.

    Args:
      section: "model" of the configuration.
      model: opened with it.
    """
    kept = {name: value for name, value in section.items() if name not in _NOT_THE_RESULT}
    return kept | {"scheduler": model.scheduler._asdict()}


def of_older_runs(files: CheckpointFiles) -> dict[str, Any]:
    """What a field counts as that a run of an older version lacks.

    0.1 recorded no schedule: it used that of the checkpoint's file, without corrections.

    Args:
      files: of the checkpoint.

    Raises:
      UserError: the scheduler's config cannot be read.
    """
    schedule = scheduler_config.as_0_1_read(read_json(files.scheduler))
    return {**binding.defaults(Model), "scheduler": schedule}
