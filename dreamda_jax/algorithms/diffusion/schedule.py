"""The noise schedule and the timesteps a run executes: plain numpy, computed once, before JAX.

Notation (docs/design.md §4): ᾱ_t is the cumulative product of 1-β, t runs down, t⁻ is the next
smaller timestep of the sub-sequence. Everything is computed in float64 and handed out as float32,
which scheduler arithmetic stays in even where the network is bfloat16.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
TimestepSpacing = Literal["leading", "trailing", "linspace"]
Solver = Literal["ddim", "dpm++2m"]
Coefficient = Any  # numpy [s] in a schedule, a scalar of JAX inside a scan over it


class NoiseLevel(NamedTuple):
    """ᾱ at one or more timesteps and the coefficients made of it, float32.

    Roots and reciprocals are taken here, in float64: compilers replace `x / sqrt(a)` by
    `x * rsqrt(a)` in one program and not in another, and one device would round otherwise than
    eight. What is left for the devices is products and sums.
    """

    alpha: Coefficient
    sqrt_alpha: Coefficient
    sqrt_one_minus_alpha: Coefficient
    inv_sqrt_alpha: Coefficient
    inv_sqrt_one_minus_alpha: Coefficient


class Schedule(NamedTuple):
    """The executed steps, from noise to image. Every array has shape [s].

    A scan over a schedule hands each step the same tuple with scalars.

    Attributes:
      timesteps: int32, the t of each step; decreasing.
      previous: int32, t⁻ of each step; 0 after the last one, where x_0 is reached.
      level: ᾱ_t.
      previous_level: ᾱ_{t⁻}.
      sigma: float32, σ_t = η √((1-ᾱ_{t⁻})/(1-ᾱ_t)) √(1-ᾱ_t/ᾱ_{t⁻}) (DDIM, Eq. 16).
      inv_sigma: float32, 1 / σ_t; 0 where σ_t is.
      direction: float32, √(1-ᾱ_{t⁻}-σ_t²), the coefficient of ε in a step.
      correction: float32, of the change of x̂_0 since the step before; 0 of a first-order solver.
    """

    timesteps: Coefficient
    previous: Coefficient
    level: NoiseLevel
    previous_level: NoiseLevel
    sigma: Coefficient
    inv_sigma: Coefficient
    direction: Coefficient
    correction: Coefficient


def noise_level(alpha: np.ndarray) -> NoiseLevel:
    """The coefficients of ᾱ, given in float64; where 1-ᾱ is 0 its reciprocal is 0, not infinite."""
    noise = np.sqrt(1 - alpha)
    fields = (alpha, np.sqrt(alpha), noise, 1 / np.sqrt(alpha), _reciprocal(noise))
    return NoiseLevel(*(np.asarray(field, np.float32) for field in fields))


def _reciprocal(x: np.ndarray) -> np.ndarray:
    return np.divide(1.0, x, out=np.zeros_like(x), where=x > 0)


def alphas_cumprod(
    num_train_timesteps: int, beta_start: float, beta_end: float, beta_schedule: BetaSchedule
) -> np.ndarray:
    """ᾱ_t for t = 0 … num_train_timesteps-1, float64, shape [num_train_timesteps].

    Raises:
      ValueError: `beta_schedule` is not one of the three.
    """
    if beta_schedule == "linear":
        betas = np.linspace(beta_start, beta_end, num_train_timesteps)
    elif beta_schedule == "scaled_linear":  # Stable Diffusion's
        betas = np.linspace(beta_start**0.5, beta_end**0.5, num_train_timesteps) ** 2
    elif beta_schedule == "squaredcos_cap_v2":  # Nichol & Dhariwal 2021, Eq. 17
        edges = np.linspace(0.0, 1.0, num_train_timesteps + 1)
        bar = np.cos((edges + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - bar[1:] / bar[:-1], 0.999)
    else:
        raise ValueError(f"unknown beta_schedule {beta_schedule!r}")
    return np.cumprod(1.0 - betas)


def spaced_timesteps(
    num_inference_steps: int,
    num_train_timesteps: int,
    timestep_spacing: TimestepSpacing,
    steps_offset: int,
) -> np.ndarray:
    """The whole sub-sequence of N timesteps, int64, decreasing, as DDIMScheduler spaces it.

    Raises:
      ValueError: N is out of range, or the sub-sequence leaves the schedule (N = 1000 with
        `steps_offset=1` would need t = 1000, where diffusers fails with an index error).
    """
    n, train = num_inference_steps, num_train_timesteps
    if not 1 <= n <= train:
        raise ValueError(f"num_inference_steps must be in [1, {train}], got {n}")
    if timestep_spacing == "leading":
        timesteps = np.arange(n)[::-1] * (train // n) + steps_offset
    elif timestep_spacing == "trailing":
        timesteps = np.round(np.arange(train, 0, -train / n)).astype(np.int64) - 1
    elif timestep_spacing == "linspace":
        timesteps = np.linspace(0, train - 1, n).round()[::-1].astype(np.int64)
    else:
        raise ValueError(f"unknown timestep_spacing {timestep_spacing!r}")
    if timesteps[0] >= train:
        raise ValueError(
            f"num_inference_steps={n} with steps_offset={steps_offset} would start at timestep "
            f"{timesteps[0]}, past the schedule's {train - 1}; use at most {train - 1} steps"
        )
    return timesteps


def make_schedule(
    *,
    num_inference_steps: int,
    strength: float,
    eta: float,
    num_train_timesteps: int = 1000,
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
    beta_schedule: BetaSchedule = "scaled_linear",
    steps_offset: int = 1,
    set_alpha_to_one: bool = False,
    timestep_spacing: TimestepSpacing = "leading",
    solver: Solver = "ddim",
) -> Schedule:
    """The last `int(N · strength)` of N steps, with everything each step needs.

    Args:
      num_inference_steps: N, the length of the whole sub-sequence.
      strength: in (0, 1]; how far up the noise schedule a run starts (diffusers' img2img rule).
      eta: in [0, 1]; 0 is deterministic DDIM, 1 has DDPM's variance.
      num_train_timesteps: length of the schedule the network was trained on.
      beta_start: β at t = 0.
      beta_end: β at the last t.
      beta_schedule: how β runs between them.
      steps_offset: added to every timestep of the "leading" spacing.
      set_alpha_to_one: whether ᾱ after the last step is 1 rather than ᾱ_0.
      timestep_spacing: how the sub-sequence lies in the schedule. Under "linspace", and "trailing"
        where N does not divide the schedule's length, steps are not those of diffusers.
      solver: "ddim", or "dpm++2m": DPM-Solver++(2M), deterministic at η = 0, its SDE at η = 1.

    Raises:
      ValueError: a value is out of range, or no step is left to run.
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength must be in (0, 1], got {strength}")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be in [0, 1], got {eta}")
    bar = alphas_cumprod(num_train_timesteps, beta_start, beta_end, beta_schedule)
    every = spaced_timesteps(
        num_inference_steps, num_train_timesteps, timestep_spacing, steps_offset
    )
    count = min(int(num_inference_steps * strength), num_inference_steps)
    if count == 0:
        raise ValueError(
            f"strength={strength} of {num_inference_steps} steps leaves no step to run; "
            f"use a strength of at least {1 / num_inference_steps:g}"
        )
    timesteps = every[len(every) - count :]
    # Each step leads to the next member of the sub-sequence. diffusers' DDIMScheduler takes
    # t - train // N instead, which is another timestep under "linspace", and under "trailing" where
    # N does not divide the schedule's length: its last ᾱ is then not that of the next step's input.
    last = timesteps[-1] - num_train_timesteps // num_inference_steps
    previous = np.append(timesteps[1:], last)
    final = 1.0 if set_alpha_to_one else bar[0]
    alpha = bar[timesteps]
    alpha_previous = np.where(previous >= 0, bar[np.maximum(previous, 0)], final)
    variance = (1 - alpha_previous) / (1 - alpha) * (1 - alpha / alpha_previous)
    sigma = eta * np.sqrt(variance)
    # Rounding can take the radicand to -1e-17 where η = 1 and t⁻ is the first timestep.
    direction = np.sqrt(np.maximum(1 - alpha_previous - sigma**2, 0))
    correction = np.zeros(count)
    if solver == "dpm++2m":
        correction = multistep_correction(alpha, alpha_previous, eta=eta)
    elif solver != "ddim":
        raise ValueError(f"unknown solver {solver!r}")
    return Schedule(
        timesteps=timesteps.astype(np.int32),
        previous=np.maximum(previous, 0).astype(np.int32),
        level=noise_level(alpha),
        previous_level=noise_level(alpha_previous),
        sigma=sigma.astype(np.float32),
        inv_sigma=_reciprocal(sigma).astype(np.float32),
        direction=direction.astype(np.float32),
        correction=correction.astype(np.float32),
    )


def multistep_correction(
    alpha: np.ndarray, alpha_previous: np.ndarray, *, eta: float
) -> np.ndarray:
    """What makes a DDIM step one of DPM-Solver++(2M), float64 [s].

    A first-order step of that solver is DDIM's with η = 0, and of its SDE DDIM's with η = 1. The
    second order adds a multiple of x̂_0 − x̂_0 of the step before (Lu et al. 2022, arXiv 2211.01095,
    Alg. 2; the SDE's midpoint form): with λ the logarithm of the signal-to-noise ratio √ᾱ/√(1−ᾱ), h
    its growth in a step and r = h_before / h,

        η = 0:  √ᾱ_{t⁻} (1 − e^{−h}) / (2r)
        η = 1:  √ᾱ_{t⁻} (1 − e^{−2h}) / (2r)

    The first step has no step before, and one that ends without any noise has no λ: both are of
    the first order.

    Raises:
      ValueError: η is neither 0 nor 1.
    """
    if eta not in (0, 1):
        raise ValueError(f"solver='dpm++2m' needs an eta of 0 or 1, got {eta}")
    with np.errstate(divide="ignore"):
        now, following = (0.5 * np.log(bar / (1 - bar)) for bar in (alpha, alpha_previous))
    h = following - now
    correction = np.zeros_like(h)
    growth = -np.expm1(-(1 + eta) * h[1:]) * h[1:] / (2 * h[:-1])
    correction[1:] = np.where(np.isfinite(h[1:]), np.sqrt(alpha_previous[1:]) * growth, 0)
    return correction
