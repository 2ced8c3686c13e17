"""The noise schedule of a checkpoint: what its scheduler's config says, whatever class wrote it.

The samplers here are DDIM's and its relatives, so a config is read as diffusers'
`DDIMScheduler.from_config` reads one of any class: fields that DDIM has are taken, those of other
solvers are left, and what is absent has DDIM's default. `as_in_a_pipeline` then corrects what
diffusers' `StableDiffusionPipeline` corrects (pipeline_stable_diffusion.py, `__init__`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dreamda_jax.algorithms.diffusion import schedule
from dreamda_jax.errors import UserError

Config = Mapping[str, Any]

FILE = "scheduler/scheduler_config.json"

# field: the values that the samplers implement.
_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "clip_sample": (False,),
    "prediction_type": ("epsilon", "v_prediction"),
    "rescale_betas_zero_snr": (False,),
    "thresholding": (False,),
    "timestep_spacing": ("leading", "trailing", "linspace"),
    "trained_betas": (None,),
}
_OTHER_MODELS = ("FlowMatch", "EDM")
_CLIP_BY_DEFAULT = ("DDIMScheduler", "DDPMScheduler")


class SchedulerSettings(NamedTuple):
    """The noise schedule of a checkpoint, named as in diffusers' `DDIMScheduler`."""

    num_train_timesteps: int
    beta_start: float
    beta_end: float
    beta_schedule: str  # linear, scaled_linear or squaredcos_cap_v2
    steps_offset: int
    set_alpha_to_one: bool
    timestep_spacing: str  # leading, trailing or linspace
    prediction_type: str  # epsilon or v_prediction

    def alphas_cumprod(self) -> np.ndarray:
        """ᾱ_t of every timestep the network was trained on, float64 [num_train_timesteps]."""
        return schedule.alphas_cumprod(
            self.num_train_timesteps,
            self.beta_start,
            self.beta_end,
            self.beta_schedule,  # type: ignore[arg-type]
        )


class Reading(NamedTuple):
    """A scheduler's config as it is used.

    Attributes:
      config: for `scheduler_settings`.
      notes: what a person should hear of it: what differs from the file without being given.
    """

    config: dict[str, Any]
    notes: list[str]


def as_in_a_pipeline(config: Config, given: Config | None = None) -> Reading:
    """A scheduler's config as a Stable Diffusion pipeline takes it, and with what was given.

    As in PyTorch's pipeline `clip_sample` is false and `steps_offset` is 1, whatever the file says
    or leaves out: files of the first months had other values. Where the file leaves
    `set_alpha_to_one` out, as those of solvers do that have no such field (DPM-Solver, LMS, Euler),
    it is false, as Stable Diffusion's own files and `PNDMScheduler` have it: here this is not
    DDIM's default, under which the last step has no noise and CycleDiffusion would divide by zero.

    Args:
      config: of the file.
      given: fields that are to have another value than there; they win over the corrections.
    """
    read, notes = dict(config), []
    given = dict(given or {})

    def correct(field: str, value: Any, why: str, *, silently: bool) -> None:
        if not silently and field not in given:
            found = f"{field}={read[field]!r}" if field in read else f"no {field}"
            notes.append(f"{found} in {FILE}: taken as {value!r}, {why}")
        read[field] = value

    if read.get("clip_sample") is not False:
        # Solvers that have no such field do not clip, so there is nothing to say.
        clips = read.get("clip_sample", _class_of(read) in _CLIP_BY_DEFAULT)
        correct("clip_sample", False, "latents are never clipped", silently=not clips)
    if read.get("steps_offset") != 1:
        leading = {**read, **given}.get("timestep_spacing", "leading") == "leading"
        why = "as in PyTorch's pipeline; --config.model.scheduler.steps_offset gives another"
        correct("steps_offset", 1, why, silently=not leading)  # other spacings do not use it
    if "set_alpha_to_one" not in read:
        why = "as Stable Diffusion has it; --config.model.scheduler.set_alpha_to_one=True if not"
        correct("set_alpha_to_one", False, why, silently=False)
    return Reading(read | given, notes)


def scheduler_settings(config: Config) -> SchedulerSettings:
    """Read the noise schedule from a scheduler's config, of DDIM or any other discrete scheduler.

    Fields that are absent take `DDIMScheduler`'s defaults, as `DDIMScheduler.from_config` does.
    `clip_sample` is the exception: schedulers of other classes never clip, so only DDIM's own
    default (true) is taken as a wish to.

    Raises:
        UserError: an option that the samplers here do not implement, by field and value.
    """
    name = _class_of(config)
    if name.startswith(_OTHER_MODELS):
        raise UserError(
            f"{FILE}: _class_name={name!r} is not supported: it belongs to a model of another kind "
            "than Stable Diffusion 1.x and 2.x, whose schedulers have discrete betas."
        )
    read = {"beta_schedule": "linear", "clip_sample": name == "DDIMScheduler", **config}
    for field, values in _SUPPORTED.items():
        value = read.get(field, values[0])
        if value not in values:
            raise _refusal(field, value, values)
    return SchedulerSettings(
        num_train_timesteps=int(config.get("num_train_timesteps", 1000)),
        beta_start=float(config.get("beta_start", 0.0001)),
        beta_end=float(config.get("beta_end", 0.02)),
        beta_schedule=str(config.get("beta_schedule", "linear")),
        steps_offset=int(config.get("steps_offset", 0)),
        set_alpha_to_one=bool(config.get("set_alpha_to_one", True)),
        timestep_spacing=str(config.get("timestep_spacing", "leading")),
        prediction_type=str(config.get("prediction_type", "epsilon")),
    )


def as_0_1_read(config: Config) -> dict[str, Any]:
    """The settings that 0.1, which corrected nothing, used of a file; {} of one it refused.

    A run that it began is continued only with the same.
    """
    try:
        return scheduler_settings(config)._asdict()
    except UserError:
        return {}


def _class_of(config: Config) -> str:
    return str(config.get("_class_name", "DDIMScheduler"))


def _refusal(field: str, value: Any, values: tuple[Any, ...]) -> UserError:
    known = " or ".join(str(known) for known in values)
    mend = f" If the network was trained otherwise, give --config.model.scheduler.{field}=VALUE."
    if values == (None,):  # betas by number cannot be given away
        mend = ""
    return UserError(f"{FILE}: {field}={value!r} is not supported (supported: {known}).{mend}")
