"""f  PyTorch diffusers on the same card with the same weights, in alternation with this project.

The U-Net eager, with channels last, and on a GPU compiled by `torch.compile` besides, with CUDA
graphs; each call's output is the next one's input. Then the release's algorithm
(`pytorch_cycle.official`: four rows a step, the source chain run again for every variant) beside
this project's program, both with few steps and one seed. What PyTorch compiles or tries out, it
does before the clock starts. A form that fails has a row that says so.
"""

import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import numpy as np

from benchmarks.accelerator_check import correctness, timing, weights
from benchmarks.accelerator_check.report import NO_TIME, NotHere, Section
from benchmarks.accelerator_check.setup import ROWS_OF_CHECK, Setup
from dreamda_jax.models.weights.torch_layout import to_torch
from dreamda_jax.synthesis.dreamda import DreamDA

TITLE = "PyTorch diffusers on the same card, in alternation"
_STEPS, _VARIANTS = 10, 5
_JAX = "this project"


def measure(setup: Setup, section: Section, clock: timing.Clock) -> None:
    """Rows for the U-Net at two batch sizes, then one for each whole algorithm.

    Raises:
      NotHere: PyTorch is not installed, or not for this card.
    """
    if not importlib.util.find_spec("torch"):
        raise NotHere("PyTorch is not installed")
    import torch

    is_cpu = setup.device.platform == "cpu"
    if not is_cpu and not torch.cuda.is_available():
        raise NotHere(f"PyTorch {torch.__version__} sees no CUDA device")
    torch.backends.cudnn.benchmark = True  # XLA tries kernels out, too
    section.figures |= {
        "torch": torch.__version__,
        "diffusers": importlib.metadata.version("diffusers"),
    }
    dtype = setup.dtypes[0]
    networks = _networks(setup, "cpu" if is_cpu else "cuda", dtype)
    _compare_outputs(setup, section, networks, dtype)
    for rows in setup.rows[:2]:
        if clock.left <= 0:
            section.row(what="U-Net", rows=rows, note=NO_TIME)
            continue
        _measure_unet(setup, section, networks, dtype, rows)
    if clock.left <= 0:
        section.row(what="whole algorithm", note=NO_TIME)
        return
    _measure_algorithms(setup, section, networks, dtype)


def _networks(setup: Setup, device: str, dtype: str) -> Any:
    """PyTorch's U-Net and VAE with the weights that are drawn here, and contexts of noise."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from benchmarks import pytorch_cycle

    model = weights.networks(setup.size, "float32")
    drawn = jax.device_get(weights.draw(model, "unet", "vae", device=setup.device))

    def module(kind: Any, config: Any, params: Any) -> Any:
        state = to_torch(flax.traverse_util.flatten_dict(params))
        built = kind.from_config(dict(config))
        built.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
        return built.eval().to(device, getattr(torch, dtype))

    class OnCard(pytorch_cycle.Networks):
        def __init__(self) -> None:
            self.unet = module(UNet2DConditionModel, setup.size.configs.unet, drawn["unet"])
            self.vae = module(AutoencoderKL, setup.size.configs.vae, drawn["vae"])

        def put(self, array: Any) -> Any:
            numbers = torch.tensor(np.asarray(array, np.float32))
            return numbers.to(device, getattr(torch, dtype))

        def encode_text(self, prompts: list[str]) -> Any:
            return self.put(weights.inputs(model, setup.size, len(prompts), device=setup.host)[1])

        def encode_image(self, images: Any) -> Any:
            pixels = self.put(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
            return self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor

        def decode(self, latents: Any) -> Any:
            pixels = self.vae.decode(latents / self.vae.config.scaling_factor).sample
            pixels = ((pixels.float() + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
            return pixels.permute(0, 2, 3, 1).cpu().numpy()

    return OnCard()


def _compare_outputs(setup: Setup, section: Section, networks: Any, dtype: str) -> None:
    import torch

    latents, context = weights.inputs(
        setup.model(dtype), setup.size, ROWS_OF_CHECK, device=setup.host
    )
    with torch.inference_mode():
        output = networks.unet(networks.put(latents), 500, networks.put(context)).sample
    error = correctness.relative_error(output.float().cpu().numpy(), setup.full_call(dtype).output)
    section.check(f"U-Net, {dtype}: this project's output against PyTorch's", error, 0.1)


def _measure_unet(setup: Setup, section: Section, networks: Any, dtype: str, rows: int) -> None:
    import torch

    model, params = setup.model(dtype), setup.unet(dtype)
    latents, context = weights.inputs(model, setup.size, rows, device=setup.device)
    program = timing.compile_program(
        lambda params, latents, context: model.denoise(params, latents, 500, context),
        params,
        latents,
        context,
    )
    ours = timing.chain(lambda x: program.call(params, x, context), latents)
    there = networks.put(latents), networks.put(context)
    forms: dict[str, Callable[[], Any]] = {
        "PyTorch": lambda: networks.unet,
        "PyTorch, channels last": lambda: networks.unet.to(memory_format=torch.channels_last),
    }
    if setup.device.platform != "cpu":  # where it compiles for many minutes
        forms["PyTorch, channels last, torch.compile"] = lambda: torch.compile(
            networks.unet.to(memory_format=torch.channels_last), mode="reduce-overhead"
        )
    ratios = []
    for name, form in forms.items():
        # Kernels keep their layout in the module, so a form is timed before the next is made.
        loop = _torch_loop(form(), *there)
        try:
            timed = timing.alternate({_JAX: ours, name: loop}, seconds=setup.loop_seconds)
        except timing.CompiledInsideTimingError:
            raise
        except Exception as error:  # what a compiler of PyTorch's raises is its own matter
            section.row(what=name, rows=rows, note=f"failed: {type(error).__name__}")
            section.say(f"{name}: {' '.join(str(error).split())[:200]}")
            continue
        ratios.append(timed[name].seconds / timed[_JAX].seconds)
        section.row(
            what=name,
            rows=rows,
            rows_per_s=rows / timed[name].seconds,
            this_project=rows / timed[_JAX].seconds,
            faster=ratios[-1],
        )
    networks.unet.to(memory_format=torch.contiguous_format)
    if ratios:
        section.figures[f"faster_than_best_torch_{rows}"] = min(ratios)


def _torch_loop(unet: Any, latents: Any, context: Any) -> timing.Loop:
    import torch

    current = latents

    def loop(calls: int) -> None:
        nonlocal current
        with torch.inference_mode():
            for _ in range(calls):
                torch.compiler.cudagraph_mark_step_begin()
                # Cloned: a CUDA graph's output is overwritten by its next call.
                current = unet(current, 500, context).sample.clone()
        if current.is_cuda:
            torch.cuda.synchronize()

    return loop


def _measure_algorithms(setup: Setup, section: Section, networks: Any, dtype: str) -> None:
    from benchmarks import pytorch_cycle

    model = setup.model(dtype)
    method = DreamDA(num_inference_steps=_STEPS)
    params = weights.draw(model, "unet", "vae", device=setup.device)
    inputs = correctness.random_inputs(model, setup.size, num_seeds=1, num_variants=_VARIANTS)
    there = jax.device_put(inputs, setup.device)
    program = timing.compile_program(
        functools.partial(method.synthesize, model, keep_trajectory=False), params, there
    )
    settings = pytorch_cycle.Settings(
        _STEPS, method.strength, method.guidance_scale, method.noise_scale
    )

    def official() -> None:
        pytorch_cycle.official(networks, inputs.images, ["a picture"], _VARIANTS, settings)

    timed = timing.alternate(
        {
            _JAX: timing.repeat(lambda: program.call(params, there)),
            "the release's algorithm on PyTorch": timing.repeat(official),
        },
        seconds=setup.loop_seconds,
        repeats=3,
    )
    ours, theirs = (_VARIANTS / one.seconds for one in timed.values())
    section.row(what=list(timed)[1], images_per_s=theirs, this_project=ours, faster=ours / theirs)
    section.figures |= {
        "faster_than_release": ours / theirs,
        "steps": int(_STEPS * method.strength),
    }
