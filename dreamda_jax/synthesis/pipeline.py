"""The Python API, in the idiom of diffusers' Flax pipelines: parameters are passed at every call.

    pipeline, params = DreamDAPipeline.from_pretrained("sample")
    output = pipeline(params, images, prompts, jax.random.key(0), num_variants=4, noise_scale=3.0)
    output.images  # uint8 [b, 4, h, w, 3]

`python -m dreamda_jax.generate` uses this class too; docs/api.md has a runnable example.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.models.stable_diffusion import flax_pipeline, loading
from dreamda_jax.models.stable_diffusion import model as stable_diffusion
from dreamda_jax.options import presets
from dreamda_jax.options.checkpoints import Scheduler
from dreamda_jax.runtime import devices as mesh
from dreamda_jax.runtime import exported_settings
from dreamda_jax.settings import binding
from dreamda_jax.synthesis.dreamda import DreamDA
from dreamda_jax.synthesis.embeddings import Embeddings
from dreamda_jax.synthesis.method import Inputs, Method, Outputs
from dreamda_jax.synthesis.program import synthesis_program
from dreamda_jax.types import Params

# One, so that an embedding cannot depend on which others it is computed with.
_PROMPTS_PER_DEVICE = 1


class PipelineOutput(NamedTuple):
    """What a call returns, on the host.

    Attributes:
      images: uint8 [b, n, h, w, 3].
      site_rms: RMS of the features the noise was added to; compare it with `noise_scale`.
      trajectory: latents after each step, float32 [b, n, s, 4, h', w'], or None.
    """

    images: np.ndarray
    site_rms: float
    trajectory: np.ndarray | None


class DreamDAPipeline:
    """Stable Diffusion with a compiled synthesis program on every local device."""

    def __init__(self, model: stable_diffusion.StableDiffusion) -> None:
        self.model = model
        self._encode_text = mesh.map_devices(model.encode_text, (mesh.WHOLE, mesh.ROWS))
        self._programs: dict[tuple[Method, bool], Any] = {}

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        revision: str | None = None,
        dtype: str = "float32",
        variant: str | None = None,
        scheduler: Mapping[str, Any] | None = None,
    ) -> tuple["DreamDAPipeline", Params]:
        """Loads a model and puts its parameters on every local device, once.

        Args:
          path: a directory in diffusers' layout, a hub id, or "sample" for the packaged tiny model.
          revision: branch, tag or commit of a hub id.
          dtype: "float32", "bfloat16" or "float16", of parameters and computation; with "float16"
            the VAE is float32.
          variant: of the weights, such as "fp16" or "non_ema"; default: the plain ones, or the only
            variant there is.
          scheduler: fields of the noise schedule that are to be other than the checkpoint says,
            such as {"prediction_type": "v_prediction"}; `Scheduler` lists them.

        Returns:
          The pipeline, and parameters, each whole on every local device.

        Raises:
          UserError: a file is missing, broken or of a kind that is not supported.
        """
        given = {"model.scheduler": dict(scheduler or {})}
        model, params = loading.load(
            path,
            revision=revision,
            dtype=dtype,
            variant=variant,
            scheduler=binding.bind(given, "model.scheduler", Scheduler).given,
            place=mesh.replicate,
        )
        return cls(model), params

    @classmethod
    def from_flax_pipeline(
        cls, pipeline: Any, params: Mapping[str, Any], *, dtype: str = "float32"
    ) -> tuple["DreamDAPipeline", Params]:
        """Takes over diffusers' `FlaxStableDiffusionPipeline`, where an older diffusers has it.

        Args:
          pipeline: the first that its `from_pretrained` returned.
          params: the second, not replicated.
          dtype: see `from_pretrained`.

        Returns:
          The pipeline, and parameters, each whole on every local device.

        Raises:
          UserError: a part is missing, a setting is not supported, or parameters do not fit.
        """
        model = flax_pipeline.open_flax_pipeline(pipeline, dtype=dtype)
        return cls(model), flax_pipeline.place_params(model, params, place=mesh.replicate)

    def __call__(
        self,
        params: Params,
        images: np.ndarray | Sequence[Any],
        prompts: str | Sequence[str],
        key: jax.Array,
        *,
        num_variants: int = 10,
        variants: Sequence[int] | None = None,
        seed_ids: Sequence[int] | None = None,
        method: Method | None = None,
        preset: str = "paper",
        return_trajectory: bool = False,
        **options: Any,
    ) -> PipelineOutput:
        """Makes variants of labelled images.

        Args:
          params: as `from_pretrained` returned them.
          images: uint8 [b, h, w, 3], or b PIL images of one size.
          prompts: one for all images or one for each.
          key: the root of every random draw: a JAX key of threefry2x32, JAX's default.
          num_variants: n, how many variants of each image.
          variants: their numbers, where only some are wanted; default 0 … n-1.
          seed_ids: the images' ids; default 0 … b-1. An image with the same key, id and variant
            number is made again the same, whatever it is batched with (up to rounding, where shapes
            differ).
          method: another than DreamDA, such as `SDEdit(strength=0.5)`. One that asks other networks
            finds their parameters in `params`; Diffusion Inversion, which learns first, is for
            `python -m dreamda_jax.generate` alone.
          preset: of DreamDA: "paper", or "fast" with a fifth of its U-Net rows (`presets`).
          return_trajectory: whether to return the latents after each step.
          **options: fields of `DreamDA`: noise_scale, guidance_scale, strength, eta,
            num_inference_steps, …; they win over the preset.

        Raises:
          ValueError: the images, their size, the method or an option is not usable.
        """
        if not isinstance(images, np.ndarray):
            images = np.stack([np.asarray(image.convert("RGB")) for image in images])
        count = len(images)
        prompts = [prompts] * count if isinstance(prompts, str) else list(prompts)
        if len(prompts) != count:
            raise ValueError(f"{count} images need as many prompts, got {len(prompts)}")
        numbers = np.arange(num_variants) if variants is None else np.asarray(variants)
        ids = np.arange(count) if seed_ids is None else np.asarray(seed_ids)
        if method is not None and options:
            raise ValueError(f"{', '.join(options)}: these belong into the method that is given")
        if method is not None and method.learning is not None:
            raise ValueError(f"{method.name} learns first: use python -m dreamda_jax.generate")
        if method is not None and preset != "paper":
            raise ValueError(f"preset={preset!r} is one of DreamDA, not of {method.name}")
        method = DreamDA(**(presets.preset(preset) | options)) if method is None else method
        method.check(self.model)
        embeddings = self.embeddings(params).get(["", method.source_prompt, *prompts])
        root = random_key.raw_data(key)
        with exported_settings.fixed_layout():
            outputs = self.dispatch(
                params,
                method,
                images=images,
                contexts=np.stack([[embeddings[prompt]] * len(numbers) for prompt in prompts]),
                source_context=embeddings[method.source_prompt],
                empty_context=embeddings[""],
                keys=np.asarray(keys_lib.seed_keys(root, ids)),
                variants=numbers,
                seeds_per_device=-(-count // mesh.local_device_count()),
                keep_trajectory=return_trajectory,
            )
        return self.collect(outputs, count)

    def embeddings(self, params: Params) -> Embeddings:
        """A cache of text embeddings under these parameters."""
        size = _PROMPTS_PER_DEVICE * mesh.local_device_count()

        def encode(prompts: list[str]) -> Callable[[], np.ndarray]:
            # Padded to the one compiled size.
            tokens = self.model.tokenize(prompts + [""] * (size - len(prompts)))
            encoded = self._encode_text(params, tokens)
            return lambda: mesh.to_host(encoded)

        return Embeddings(encode, prompts_per_call=size)

    def dispatch(
        self,
        params: Params,
        method: Method,
        *,
        images: np.ndarray,
        contexts: np.ndarray,
        source_context: np.ndarray,
        empty_context: np.ndarray,
        keys: np.ndarray,
        variants: np.ndarray,
        seeds_per_device: int,
        keep_trajectory: bool = False,
    ) -> Outputs:
        """Starts the program on a batch and returns at once, with arrays still on the devices.

        A batch shorter than devices · `seeds_per_device` is filled with copies of its last seed, so
        the program is compiled once; `collect` drops them again. Shapes are those of `Inputs`.

        Raises:
          ValueError: the batch is empty, too long, or of a size the network cannot take.
        """
        size = mesh.local_device_count() * seeds_per_device
        if not 0 < len(images) <= size:
            raise ValueError(f"a batch must have 1 to {size} images, got {len(images)}")
        if images.shape[1] != images.shape[2]:
            raise ValueError(f"images must be square, got {images.shape[1]} x {images.shape[2]}")
        self.model.latent_shape(images.shape[1])  # raises for a size the U-Net cannot halve

        def fill(rows: np.ndarray) -> np.ndarray:
            return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])

        inputs = Inputs(
            images=fill(images),
            contexts=fill(contexts),
            source_context=source_context,
            empty_context=empty_context,
            keys=fill(keys),
            variants=variants.astype(np.int32),
        )
        return self.program(method, keep_trajectory)(params, inputs)

    def program(self, method: Method, keep_trajectory: bool = False) -> Any:
        """The method as one compiled program over the local devices: `synthesis_program`."""
        if (method, keep_trajectory) not in self._programs:
            self._programs[method, keep_trajectory] = synthesis_program(
                self.model, method, keep_trajectory=keep_trajectory
            )
        return self._programs[method, keep_trajectory]

    def collect(self, outputs: Outputs, count: int) -> PipelineOutput:
        """Waits for a dispatched batch and returns its first `count` seeds on the host."""
        images, site_rms, trajectory = mesh.to_host(outputs)
        if trajectory is not None:
            trajectory = trajectory[:count]
        return PipelineOutput(images[:count], float(np.mean(site_rms)), trajectory)
