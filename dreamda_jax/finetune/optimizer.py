"""AdamW, its learning rate and the average of the parameters, as in diffusers' training scripts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from dreamda_jax.finetune.options import Finetune


def learning_rate_schedule(job: Finetune) -> optax.Schedule:
    """The learning rate of step 0, 1, …: linear warm-up from 0, then constant or cosine to 0."""
    peak, warmup = job.peak_learning_rate, job.warmup_steps
    after: optax.Schedule = optax.constant_schedule(peak)
    if job.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(1, job.num_steps - warmup))
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make_optimizer(job: Finetune, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Clipping by global norm, then AdamW with decay on all parameters (ε = 1e-8)."""
    clip = [optax.clip_by_global_norm(job.clip_norm)] if job.clip_norm else []
    adamw = optax.adamw(schedule, b1=job.beta1, b2=job.beta2, weight_decay=job.weight_decay)
    return optax.chain(*clip, adamw)


def ema_decay_schedule(decay: float) -> Callable[[jax.Array], jax.Array]:
    """The average's decay by the steps done before: min(decay, (1 + s) / (10 + s)), 0 at first.

    diffusers' `EMAModel` without `use_ema_warmup`: a short training is not all starting point.
    """

    def at(step: jax.Array) -> jax.Array:
        s = jnp.asarray(step, jnp.float32)
        return jnp.where(s > 0, jnp.minimum(decay, (1 + s) / (10 + s)), 0.0)

    return at
