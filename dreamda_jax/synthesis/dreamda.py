"""DreamDA (arXiv 2403.12803): invert a seed once, run it back n times with noise in the U-Net."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dreamda_jax.algorithms.diffusion import inversion, keys, perturb, sample, steps
from dreamda_jax.algorithms.diffusion.encoder_reuse import EncoderReuse
from dreamda_jax.algorithms.diffusion.keys import Stream
from dreamda_jax.algorithms.diffusion.schedule import NoiseLevel, Schedule
from dreamda_jax.models.stable_diffusion.model import UNET_BLOCKS, StableDiffusion
from dreamda_jax.options.methods import LATENT_SITES, DreamDAOptions
from dreamda_jax.synthesis.method import Inputs, Method, Outputs
from dreamda_jax.synthesis.sampling import Guidance, in_passes, model_schedule, of_seeds
from dreamda_jax.types import AnyArray, Params


@dataclasses.dataclass(frozen=True)
class DreamDA(DreamDAOptions, Method):
    """The method; its options are explained in `DreamDAOptions`."""

    def check(self, model: StableDiffusion) -> None:
        """Raises ValueError where the options and the model do not fit together."""
        schedule = self._schedule(model)
        if self.inversion == "cyclediffusion" and not (schedule.sigma > 0).all():
            raise ValueError(
                f"CycleDiffusion divides by σ_t, which is 0 here: {self._noise_advice(model)}, or "
                "take inversion='ddim'"
            )
        if self.site not in LATENT_SITES:
            self.module_name(model)
        if self.guidance_scale != 1 or self.source_prompt == "":
            model.check_empty_prompt()

    def _noise_advice(self, model: StableDiffusion) -> str:
        """What gives every step noise."""
        if self.eta == 0:
            return "set eta above 0"
        scheduler, last = model.scheduler, self._schedule(model).timesteps[-1]
        fields = []
        if scheduler.set_alpha_to_one:
            fields.append("set_alpha_to_one=False")
        if last == 0 and scheduler.timestep_spacing != "leading":
            fields.append("timestep_spacing=leading")
        if last == 0 and scheduler.steps_offset == 0:
            fields.append("steps_offset=1")
        given = " ".join(f"--config.model.scheduler.{field}" for field in fields)
        return f"the checkpoint's schedule ends without noise; give {given}"

    def _schedule(self, model: StableDiffusion) -> Schedule:
        return model_schedule(
            model,
            num_inference_steps=self.num_inference_steps,
            strength=self.strength,
            eta=self.eta,
            solver=self.solver,
        )

    def module_name(self, model: StableDiffusion) -> str:
        """The U-Net submodule at `site`; ValueError where there is none."""
        return perturb.site_module_name(
            self.site,
            num_encoder_blocks=model.num_down_blocks,
            num_decoder_blocks=model.num_up_blocks,
        )

    def stages(self, model: StableDiffusion, params: Params, inputs: Inputs) -> "Stages":
        """Inversion and reverse process of one batch, for a program of each alone.

        Args:
          model: as of `synthesize`; likewise the others.
          params: {"unet"}.
          inputs: see `Inputs`.
        """
        return Stages(self, model, params, self._schedule(model), inputs)

    def synthesize(
        self,
        model: StableDiffusion,
        params: Params,
        inputs: Inputs,
        *,
        keep_trajectory: bool = False,
    ) -> Outputs:
        """Makes n variants of each of b seed images: encode, invert, n perturbed reverses, decode.

        Args:
          model: the networks; hashable, holds no parameters.
          params: {"unet", "vae", "text_encoder"}.
          inputs: see `Inputs`.
          keep_trajectory: whether to return the latents after each step.
        """
        run = self.stages(model, params, inputs)
        x0 = model.encode_image(params, inputs.images)
        start, recorded = run.invert(x0)

        def one_pass(rows: tuple) -> tuple:
            row_keys, contexts = rows  # [r, 2], [r, l, d]
            reversed_ = run.reverse(x0, start, recorded, row_keys, contexts, keep_trajectory)
            latents = reversed_.latents
            if self.site == "x_0":
                noise = keys.normal(row_keys, 0, Stream.PERTURBATION, latents.shape[1:])
                latents = latents + self.noise_scale * noise
            trajectory = reversed_.trajectory
            if trajectory is not None:
                trajectory = jnp.moveaxis(trajectory, 0, 1)
            mean_square = jnp.broadcast_to(jnp.mean(reversed_.mean_squares), len(row_keys))
            return model.decode_latents(params, latents), mean_square, trajectory

        variant_keys = keys.variant_keys(inputs.keys, inputs.variants)
        images, mean_squares, trajectory = in_passes(
            one_pass, (variant_keys, inputs.contexts), most=self.variants_per_pass
        )
        return Outputs(images, jnp.sqrt(jnp.mean(mean_squares)), trajectory)


@dataclasses.dataclass(frozen=True)
class Stages:
    """One traced call: the method's options bound to a model, its parameters and a batch.

    Attributes:
      options: of the method.
      model: the networks.
      params: their parameters.
      schedule: the executed steps.
      inputs: the batch.
    """

    options: DreamDA
    model: StableDiffusion
    params: Params
    schedule: Schedule
    inputs: Inputs

    def _network(self) -> EncoderReuse:
        """The U-Net for one chain of steps."""

        def denoise(latents: jax.Array, timestep: AnyArray, context: jax.Array) -> jax.Array:
            return self.model.denoise(self.params, latents, timestep, context)

        return EncoderReuse(denoise, self.model.encoder_modules, every=self.options.encoder_every)

    def _epsilon(self, output: jax.Array, latents: jax.Array, level: NoiseLevel) -> jax.Array:
        return steps.to_epsilon(output, latents, level, self.model.scheduler.prediction_type)

    def _predict_source(
        self, network: EncoderReuse, latents: jax.Array, t: AnyArray, level: NoiseLevel
    ) -> jax.Array:
        """ε under the source prompt: one row per image unless a real prompt is guided."""
        options = self.options
        # With an empty source prompt both guidance rows are the same row: run it once.
        scale = 1.0 if options.source_prompt == "" else options.source_guidance_scale
        guidance = Guidance(scale, self.inputs.empty_context)
        target = jnp.broadcast_to(
            self.inputs.source_context, (len(latents), *self.inputs.source_context.shape)
        )
        output = network(guidance.latents(latents), t, guidance.contexts(target))
        return self._epsilon(guidance.combine(output), latents, level)

    def invert(self, x0: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Inverts latents `x0`, float32 [b, 4, h, w].

        Returns:
          x_T of each seed and, where its variants share it, the recorded noise [s, b, 4, h, w].
        """
        if self.options.inversion == "ddim":
            predict = functools.partial(self._predict_source, self._network())
            return inversion.ddim_inversion(predict, x0, self.schedule), None
        own = keys.own_keys(self.inputs.keys)
        start = inversion.draw_start(x0, own, self.schedule)
        if self.options.posterior_noise == "redrawn":
            return start, None
        return start, self._record(x0, start, own)

    def _record(self, x0: jax.Array, start: jax.Array, row_keys: AnyArray) -> jax.Array:
        """CycleDiffusion's noise of one chain for each row."""
        network = self._network()
        return inversion.cycle_diffusion_inversion(
            functools.partial(self._predict_source, network),
            x0,
            start,
            row_keys,
            self.schedule,
            scan=network.scan,
        )

    def reverse(
        self,
        x0: jax.Array,
        start: jax.Array,
        recorded: jax.Array | None,
        row_keys: jax.Array,
        contexts: jax.Array,
        keep_trajectory: bool,
    ) -> sample.Reversed:
        """The perturbed reverse of b·m rows, seed by seed.

        Args:
          x0: latents of the b seeds, float32 [b, 4, h, w].
          start: x_T of each, as `invert` returns it; likewise `recorded`.
          recorded: see `invert`.
          row_keys: of each variant, uint32 [b·m, 2].
          contexts: of each variant, [b·m, l, d].
          keep_trajectory: whether to return the latents after each step.
        """
        options = self.options
        start = of_seeds(start, len(contexts))

        def fresh(_: Any, t: AnyArray) -> jax.Array:
            return keys.normal(row_keys, t, Stream.STEP, start.shape[1:])

        step_noise: Callable = fresh
        if options.inversion == "cyclediffusion":
            step_noise = lambda z, _: of_seeds(z, len(contexts))  # noqa: E731
            if options.posterior_noise == "redrawn":
                step_noise = lambda z, _: z  # noqa: E731
                recorded = self._record(of_seeds(x0, len(contexts)), start, row_keys)

        def perturb_latents(latents: jax.Array, t: AnyArray) -> jax.Array:
            noise = keys.normal(row_keys, t, Stream.PERTURBATION, latents.shape[1:])
            return latents + options.noise_scale * noise

        def perturb_between(latents: jax.Array, t: AnyArray) -> jax.Array:
            # The paper's row is t = 1 … T − 1: x_T has a site of its own.
            is_first = t == self.schedule.timesteps[0]
            return jnp.where(is_first, latents, perturb_latents(latents, t))

        if options.site == "x_T":
            start = perturb_latents(start, self.schedule.timesteps[0])
        network = self._network()
        return sample.perturbed_reverse(
            lambda latents, t, level: self._predict(network, latents, t, level, row_keys, contexts),
            start,
            self.schedule,
            noise=recorded,
            step_noise=step_noise,
            perturb_latents=perturb_between if options.site == "x_t" else lambda x, _: x,
            keep_trajectory=keep_trajectory,
            scan=network.scan,
        )

    def _predict(
        self,
        network: EncoderReuse,
        latents: jax.Array,
        t: AnyArray,
        level: NoiseLevel,
        row_keys: jax.Array,
        contexts: jax.Array,
    ) -> sample.Noises:
        """ε̃ (and ε) of each variant under guidance, with the perturbation where it belongs."""
        options = self.options
        guidance = Guidance(options.guidance_scale, self.inputs.empty_context)
        copies = guidance.copies
        all_latents, all_contexts = guidance.latents(latents), guidance.contexts(contexts)

        def draw(shape: tuple[int, ...]) -> jax.Array:
            different = copies if options.cfg_noise == "independent" else 1
            noise = keys.normal(row_keys, t, Stream.PERTURBATION, (different, *shape[1:]))
            noise = jnp.moveaxis(noise, 1, 0).reshape(-1, *shape[1:])
            return jnp.concatenate([noise] * (copies // different))

        def epsilon(output: jax.Array) -> jax.Array:
            return self._epsilon(guidance.combine(output), latents, level)

        if options.site in LATENT_SITES:
            output = network(all_latents, t, all_contexts)
            return sample.Noises(epsilon(output), None, jnp.mean(jnp.square(latents)))
        perturbed = perturb.perturbed_call(
            network,
            all_latents,
            t,
            all_contexts,
            blocks=UNET_BLOCKS,
            module_name=options.module_name(self.model),
            noise_scale=options.noise_scale,
            draw=draw,
            keep_clean=options.update_rule == "asymmetric",
        )
        clean = None if perturbed.clean is None else epsilon(perturbed.clean)
        return sample.Noises(epsilon(perturbed.noisy), clean, perturbed.mean_square)
