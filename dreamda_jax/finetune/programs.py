"""What fine-tuning compiles: its optimizer, the step and the pictures, over a mesh of devices.

Trained parameters, their average and the optimizer's state lie split over the mesh's axis "fsdp" in
float32, frozen ones in the model's dtype. Inside a program they are cast to the model's dtype and
put together on every device; rows of a batch are split over all devices.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.diffusion import error_bands, sample, schedule, steps
from dreamda_jax.algorithms.diffusion.denoising_loss import Objective
from dreamda_jax.algorithms.diffusion.loss_weights import loss_weights
from dreamda_jax.finetune.adaptation import Adaptation
from dreamda_jax.finetune.loss import NUM_BANDS, Batch, band_metrics, finetuning_loss
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.options.finetune import Finetune
from dreamda_jax.runtime import devices
from dreamda_jax.runtime import state as states
from dreamda_jax.runtime.state import TrainState
from dreamda_jax.runtime.step import make_step
from dreamda_jax.types import Image, Metrics, Params

EMPTY = "empty"
"""Among the frozen parameters: the context [l, d] of the empty prompt."""


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


class Programs:
    """The compiled functions of a job.

    Args:
      model: the networks.
      adaptation: what is trained.
      job: its numbers.
      mesh: the devices.
    """

    def __init__(
        self, model: StableDiffusion, adaptation: Adaptation, job: Finetune, mesh: Mesh
    ) -> None:
        self.mesh = mesh
        self._model, self._adaptation, self._job = model, adaptation, job
        self._rate = learning_rate_schedule(job)
        self._optimizer = make_optimizer(job, self._rate)
        self.step = jax.jit(self._step, donate_argnums=2)
        self.pictures = jax.jit(self._pictures)

    def first_state(self, start: Mapping[str, Params]) -> TrainState:
        """The state of step 0, split over the devices, from the networks' parameters."""
        shardings = devices.state_sharding(self.mesh, self.state_shapes(start))
        return jax.jit(self._new_state, out_shardings=shardings)(start)

    def state_shapes(self, start: Any) -> TrainState:
        """Shapes of a state; `start` may be arrays or their shapes."""
        return jax.eval_shape(self._new_state, start)

    def _new_state(self, start: Mapping[str, Params]) -> TrainState:
        trained = self._adaptation.init(random_key.key(self._job.seed), start)
        return states.new_state(
            {"params": trained, "batch_stats": {}},
            self._optimizer,
            with_ema=self._job.ema_decay > 0,
            method_state=error_bands.no_rows(NUM_BANDS),
        )

    def _step(
        self, frozen: Mapping[str, Any], key: jax.Array, state: TrainState, batch: Batch
    ) -> tuple[TrainState, Metrics]:
        """One optimizer step; the state given is consumed.

        Args:
          frozen: the networks that are not trained, and `EMPTY`.
          key: of the job.
          state: before it.
          batch: a global one.
        """
        job, whole = self._job, self._whole(frozen)
        loss = finetuning_loss(
            lambda trained: self._adaptation.denoiser(self._whole(trained), whole),
            objective_of(self._model, job),
            None if self._adaptation.takes_token_ids else whole[EMPTY],
            prompt_dropout=job.prompt_dropout,
        )
        step = make_step(
            loss,
            self._optimizer,
            self._rate,
            ema_decay=ema_decay_schedule(job.ema_decay),
            accumulation=job.accumulation,
            state_metrics=functools.partial(
                band_metrics, num_timesteps=self._model.scheduler.num_train_timesteps
            ),
        )
        after, metrics = step(key, state, batch)
        shardings = devices.state_sharding(self.mesh, after)
        after = jax.tree.map(jax.lax.with_sharding_constraint, after, shardings)
        return after, metrics

    def _pictures(
        self, frozen: Mapping[str, Any], trained: Params, noise: jax.Array, text: jax.Array
    ) -> tuple[Image, jax.Array]:
        """Pictures from prompts: deterministic DDIM with guidance, no image to start from.

        Args:
          frozen: as `step`'s, and "vae".
          trained: parameters, or their average.
          noise: x_T, float32 [b, 4, h, w].
          text: context or token ids of each row.

        Returns:
          (uint8 [b, h, w, 3], whether all latents are finite numbers).
        """
        model, job, whole = self._model, self._job, self._whole(frozen)
        denoiser = self._adaptation.denoiser(self._whole(trained), whole)
        settings = model.scheduler._asdict()
        prediction_type = settings.pop("prediction_type")
        executed = schedule.make_schedule(
            num_inference_steps=job.sample_steps, strength=1.0, eta=0.0, **settings
        )
        context = denoiser.encode(text)
        empty = jnp.broadcast_to(whole[EMPTY], context.shape).astype(context.dtype)

        def predict(latents: Any, t: Any, level: schedule.NoiseLevel) -> sample.Noises:
            output = denoiser.denoise(
                jnp.concatenate([latents] * 2), t, jnp.concatenate([empty, context])
            )
            unconditional, conditional = jnp.split(output, 2)
            guided = steps.guide(unconditional, conditional, job.sample_guidance_scale)
            noisy = steps.to_epsilon(guided, latents, level, prediction_type)
            return sample.Noises(noisy, None, jnp.zeros(()))

        reversed_ = sample.perturbed_reverse(
            predict, noise, executed, noise=None, step_noise=lambda *_: jnp.zeros(())
        )
        latents = reversed_.latents
        return model.decode_latents(whole, latents), jnp.isfinite(latents).all()

    def _whole(self, tree: Any) -> Any:
        """Parameters in the model's dtype, whole on every device."""
        return devices.gathered(
            self.mesh, jax.tree.map(lambda leaf: leaf.astype(self._model.dtype), tree)
        )


def objective_of(model: StableDiffusion, job: Finetune) -> Objective:
    """What the U-Net is trained to predict, weighted as the job says."""
    scheduler = model.scheduler
    alpha = scheduler.alphas_cumprod()
    weights = loss_weights(
        alpha,
        scheduler.prediction_type,
        job.weighting,
        p2_gamma=job.p2_gamma,
        p2_k=job.p2_k,
        min_snr_gamma=job.min_snr_gamma,
    )
    return Objective(scheduler.prediction_type, schedule.noise_level(alpha), weights)
