"""Images per second and FLOP utilisation of a classifier's training step, beside PyTorch's.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --classifiers=resnet50,swin_v2_t --dtype=bfloat16 --augment

The step that `python -m dreamda_jax.train` runs, on this machine's devices and one random batch
already there: central crop, flip, forward, backward, SGD, metrics. `--augment` times it again with
resized crops and RandAugment; "augment share" is how much of that longer step they are.

Utilisation is 3 x the forward pass's FLOPs (the convention: backward costs two forwards) over
`--peak_tflops` of each device, or over what a large matrix product of the same dtype reached just
before: then it is a ratio of two timings of one run on one machine. "counted ratio" and "xla ratio"
are the whole step's FLOPs over 3 x forward: `runtime.flops` includes the zeros that gradients of
strided convolutions put in; XLA leaves out these and padding, and adds elementwise operations.

PyTorch, if installed, then trains torchvision's model (transformers' for resnet_tiny) in the same
process: eager, one device, SGD, images normalised beforehand and not augmented, autocast for
bfloat16, TF32 on a GPU as in XLA, the faster of contiguous and channels-last layout.
"""

import importlib.util
import math
import time
import timeit
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from classifier_step import NUM_CLASSES, Program, forward_flops, make_program
from reporting import machine, print_json, print_table

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import registry
from dreamda_jax.models.classifiers.resnet_tiny import DEPTHS, STEM_WIDTH, WIDTHS
from dreamda_jax.runtime import devices as mesh
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.settings import command_line

FLAGS = flags.FLAGS
flags.DEFINE_string("classifiers", ",".join(registry.ARCHITECTURES), "Which to measure.")
flags.DEFINE_integer("batch_size", 32, "Images of a step, over all devices.", lower_bound=1)
flags.DEFINE_integer("image_size", 0, "Side of the input; 0: the usual one.", lower_bound=0)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the computation.")
flags.DEFINE_integer("steps", 10, "Steps of a timed loop.", lower_bound=1)
flags.DEFINE_float("peak_tflops", 0.0, "Of one device; 0: a matmul's rate.", lower_bound=0.0)
flags.DEFINE_bool("augment", False, "Time the step with a config's augmentations too.")
flags.DEFINE_bool("with_torch", True, "Time PyTorch too, where it is installed.")


def main() -> None:
    """Measures one classifier after the other, prints."""
    chosen = {name: registry.find_architecture(name) for name in FLAGS.classifiers.split(",")}
    devices = mesh.device_count()
    if FLAGS.batch_size % devices:
        raise UserError(f"--batch_size={FLAGS.batch_size} must be a multiple of {devices} devices")
    peak = FLAGS.peak_tflops * 1e12 * devices or matmul_rate()
    of = "the devices' peak" if FLAGS.peak_tflops else "a matmul's rate in this run"
    rows = []
    figures: dict[str, Any] = {"peak_tflops": peak / 1e12}
    for name, architecture in chosen.items():
        print(f"{name} ...", flush=True)
        measured = measure(architecture, peak)
        rows.append([name, *("-" if value is None else value for value in measured.values())])
        for column, value in measured.items():
            figures[f"{column}_{name}"] = None if isinstance(value, str) else value
    print_table(
        f"A training step, batch {FLAGS.batch_size}, {FLAGS.dtype} ({machine()})\n"
        f"Utilisation: of {of}, {peak / 1e12:.3g} TFLOP/s. PyTorch: same machine and process, "
        "one after the other",
        ["", *(column.replace("_", " ") for column in measured)],
        rows,
    )
    print_json(figures)


def measure(architecture: registry.Architecture, peak: float) -> dict[str, Any]:
    """The columns of one classifier; `peak` is the FLOP/s of all devices."""
    size = FLAGS.image_size or architecture.image_size
    program = _program(architecture, Augment(crop="none", flip=True), size)
    first_call, seconds = time_step(program)
    forward, (counted, xla) = forward_flops(program, size), count_step(program)
    share: float | None = None
    if FLAGS.augment:
        augmented = _program(architecture, Augment(crop="resized", rand_augment=True), size)
        share = 1 - seconds / time_step(augmented)[1]
    rate = FLAGS.batch_size / seconds
    torch_rate = torch_images_per_second(architecture.name, size) if FLAGS.with_torch else None
    return {
        "side": size,
        "images_per_second": rate,
        "utilisation": 3 * forward / seconds / peak,
        "first_call_s": first_call,
        "forward_gflop": forward / FLAGS.batch_size / 1e9,
        "counted_ratio": counted / (3 * forward),
        "xla_ratio": xla and xla / (3 * forward),
        "augment_share": share,
        "torch_per_second": torch_rate or ("not installed" if FLAGS.with_torch else None),
        "over_torch": torch_rate and rate / torch_rate,
    }


def _program(architecture: registry.Architecture, augment: Augment, size: int) -> Program:
    return make_program(architecture, augment, size, batch_size=FLAGS.batch_size, dtype=FLAGS.dtype)


def count_step(program: Program) -> tuple[float, float | None]:
    """FLOPs of a step, counted here and by XLA."""
    arguments = (random_key.key(0), jax.eval_shape(program.first_state), program.batch)
    xla = jax.jit(program.step).lower(*arguments).cost_analysis()
    # Not every backend analyses.
    return count_flops(program.step, *arguments), xla["flops"] if xla else None


def time_step(program: Program) -> tuple[float, float]:
    """Seconds of the first call, compilation included, and of a step after it."""
    devices = mesh.training_mesh()
    whole = mesh.replicated(devices)
    compiled = jax.jit(program.step, donate_argnums=1, out_shardings=(whole, whole))
    key, batch = random_key.key(0), mesh.global_rows(devices, program.batch)
    current = jax.block_until_ready(jax.jit(program.first_state, out_shardings=whole)())

    def step() -> Any:
        nonlocal current
        current, metrics = compiled(key, current, batch)
        return current, metrics

    start = time.monotonic()
    jax.block_until_ready(step())
    return time.monotonic() - start, seconds_per_call(step, jax.block_until_ready)


def seconds_per_call(call: Callable[[], Any], wait: Callable[[Any], Any]) -> float:
    """The best of three loops'; a loop makes all its calls and then waits for the last."""

    def loop() -> None:
        for _ in range(FLAGS.steps):
            result = call()
        wait(result)

    return min(timeit.repeat(loop, number=1, repeat=3)) / FLAGS.steps


def matmul_rate() -> float:
    """FLOP/s of a matrix product on all devices, its rows split over them."""
    side = 2048 if jax.default_backend() == "cpu" else 8192  # long enough to hide the dispatch
    devices = mesh.training_mesh()
    ones = np.ones((side * mesh.device_count(), side), getattr(jnp, FLAGS.dtype))
    left = mesh.global_rows(devices, ones)
    right = jax.device_put(ones[:side], mesh.replicated(devices))
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(left, right))
    seconds = seconds_per_call(lambda: product(left, right), jax.block_until_ready)
    return 2 * math.prod(left.shape) * side / seconds


def torch_images_per_second(name: str, size: int) -> float | None:
    """PyTorch's, on the kind of device that JAX uses; None where it is not installed for that."""
    needed = ("torch", "transformers" if name == "resnet_tiny" else "torchvision")
    if not all(importlib.util.find_spec(library) for library in needed):
        return None
    import torch

    on_cpu = jax.default_backend() == "cpu"
    if not on_cpu and not torch.cuda.is_available():
        return None
    device = torch.device("cpu" if on_cpu else "cuda")
    torch.set_float32_matmul_precision("highest" if on_cpu else "high")
    torch.backends.cudnn.benchmark = True  # XLA tries kernels out, too
    images = torch.randn(FLAGS.batch_size, 3, size, size, device=device)
    labels = torch.randint(NUM_CLASSES, (FLAGS.batch_size,), device=device)

    def seconds(layout: Any) -> float:
        model = _torch_model(name).train().to(device, memory_format=layout)
        inputs = images.contiguous(memory_format=layout)
        sgd = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=1e-4, nesterov=True)

        def step() -> None:
            sgd.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, FLAGS.dtype == "bfloat16"):
                output = model(inputs)
                logits = getattr(output, "logits", output)
                loss = torch.nn.functional.cross_entropy(logits, labels)
            loss.backward()
            sgd.step()

        step()
        return seconds_per_call(step, lambda _: on_cpu or torch.cuda.synchronize())

    return FLAGS.batch_size / min(map(seconds, (torch.contiguous_format, torch.channels_last)))


def _torch_model(name: str) -> Any:
    if name != "resnet_tiny":
        import torchvision

        return torchvision.models.get_model(name, num_classes=NUM_CLASSES)
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        num_channels=3,
        embedding_size=STEM_WIDTH,
        hidden_sizes=list(WIDTHS),
        depths=list(DEPTHS),
        layer_type="basic",
    )
    config.num_labels = NUM_CLASSES
    return ResNetForImageClassification(config)


if __name__ == "__main__":
    command_line.run(main)
