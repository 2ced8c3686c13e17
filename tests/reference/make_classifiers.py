"""Make classifiers_*.npz: ResNets and MobileNetV2 in PyTorch, on weights made from names.

Needs environments apart from the project's: Python 3.11, numpy 2.4.6 and torch 2.14.1 (CPU),
torchvision 0.29.1, timm 1.0.31 for the first line, transformers 4.57.6 with torch 2.13.0 for the
second.

    TORCHENV/bin/python tests/reference/make_classifiers.py resnet18 resnet18_small resnet50 \
        resnext50_32x4d mobilenet_v2 mobilenet_v2_timm
    TORCHENV/bin/python tests/reference/make_classifiers.py resnet_tiny

Weights and images are not stored: `random_tensor` makes them from their names, here and in the
tests, which import this file without torch. README.md here lists every array.
"""

import json
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).parent
NUM_CLASSES = 10


class Case(NamedTuple):
    """One model, its images, and what is stored of it beside the outputs."""

    images: tuple[int, int, int, int]
    norms: tuple[str, ...]  # BatchNorms whose updated statistics are stored
    gradients: tuple[str, ...]  # parameters whose gradient is stored whole; of all others the norm


_RESNET = Case(
    images=(4, 64, 64, 3),
    norms=("bn1", "layer3.0.downsample.1", "layer4.1.bn2"),
    gradients=("bn1.weight", "layer2.0.bn2.bias", "layer4.0.downsample.1.weight", "fc.bias"),
)
CASES = {
    "resnet18": _RESNET,
    "resnet18_small": _RESNET._replace(images=(4, 32, 32, 3)),
    "resnet50": _RESNET,
    "resnext50_32x4d": _RESNET,
    "mobilenet_v2": Case(
        images=(4, 64, 64, 3),
        norms=("features.0.1", "features.9.conv.1.1", "features.18.1"),
        gradients=("features.0.0.weight", "features.1.conv.0.0.weight", "features.9.conv.3.weight"),
    ),
    "mobilenet_v2_timm": Case(
        images=(4, 64, 64, 3),
        norms=("bn1", "blocks.3.2.bn2", "bn2"),
        gradients=("conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.3.2.bn3.weight"),
    ),
    "resnet_tiny": Case(
        images=(8, 32, 32, 3),
        norms=(
            "resnet.embedder.embedder.normalization",
            "resnet.encoder.stages.2.layers.0.shortcut.normalization",
        ),
        gradients=(
            "resnet.embedder.embedder.normalization.weight",
            "resnet.encoder.stages.1.layers.1.layer.0.normalization.bias",
            "classifier.1.weight",
        ),
    ),
}


def random_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight or noise called `name`, float32: the same everywhere, and activations of O(1)."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    if len(shape) > 1:
        return noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if name.endswith(("running_mean", "bias")):
        return noise * np.float32(0.2)
    # The weight of a norm, or a running variance. The norms of ResNets' blocks are damped, because
    # with running statistics each block would add to the scale.
    damping = 0.7 if name.startswith("layer") and name.endswith("weight") else 1.0
    return np.exp(noise * np.float32(0.3)) * np.float32(damping)


def images(case: str) -> np.ndarray:
    """Coarse squares, in which the images differ after pooling too, and fine noise."""
    batch, height, width, channels = CASES[case].images
    rng = np.random.default_rng(0)
    squares = rng.standard_normal((batch, 4, 4, channels), np.float32)
    squares = squares.repeat(height // 4, axis=1).repeat(width // 4, axis=2)
    return squares + rng.standard_normal((batch, height, width, channels), np.float32) / 2


def labels(case: str) -> np.ndarray:
    return np.arange(CASES[case].images[0]) * 3 % NUM_CLASSES


def make_model(case: str):
    """The PyTorch model, with dropout off."""
    import torch

    if case == "resnet_tiny":
        from transformers import ResNetConfig, ResNetForImageClassification

        config = json.loads((HERE.parents[1] / "dreamda_jax/sample/oracle/config.json").read_text())
        return ResNetForImageClassification(ResNetConfig.from_dict(config))
    if case == "mobilenet_v2_timm":
        import timm

        return timm.create_model("mobilenetv2_100", num_classes=NUM_CLASSES)
    import torchvision

    if case == "mobilenet_v2":
        return torchvision.models.mobilenet_v2(num_classes=NUM_CLASSES, dropout=0.0)
    model = getattr(torchvision.models, case.removesuffix("_small"))(num_classes=NUM_CLASSES)
    if case.endswith("_small"):
        model.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        model.maxpool = torch.nn.Identity()
    return model


def head(model):
    """The linear layer at the end; its input is the features."""
    import torch

    return [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]


def make_arrays(case: str, dtype) -> dict[str, np.ndarray]:
    """Outputs, statistics and gradients; computed in `dtype`, returned in float32."""
    import torch

    model = make_model(case)
    shapes = {name: list(t.shape) for name, t in model.state_dict().items() if t.ndim > 0}
    made = {name: torch.from_numpy(random_tensor(name, tuple(s))) for name, s in shapes.items()}
    lacking = model.load_state_dict(made, strict=False)
    assert not lacking.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in lacking.missing_keys)
    model = model.to(dtype)
    features = []
    head(model).register_forward_pre_hook(lambda module, args: features.append(args[0]))
    counts = {}
    for norm in CASES[case].norms:
        model.get_submodule(norm).register_forward_pre_hook(
            lambda module, args, norm=norm: counts.update({norm: args[0][:, 0].numel()})
        )

    def classify():
        out = model(torch.from_numpy(images(case)).permute(0, 3, 1, 2).to(dtype))
        return getattr(out, "logits", out)

    out = {}
    with torch.no_grad():
        model.eval()
        out["logits"] = classify()
    out["features"] = features[-1]
    model.train()
    out["train_logits"] = classify()
    loss = torch.nn.functional.cross_entropy(out["train_logits"], torch.from_numpy(labels(case)))
    loss.backward()
    state = model.state_dict()
    for norm in CASES[case].norms:
        for leaf in ("running_mean", "running_var"):
            out[f"{norm}.{leaf}"] = state[f"{norm}.{leaf}"]
    gradients = {name: p.grad for name, p in model.named_parameters()}
    for name in CASES[case].gradients:
        out[f"gradient.{name}"] = gradients[name]
    out["gradient_norms"] = torch.stack([g.norm() for g in gradients.values()])
    arrays = {name: np.asarray(t.detach().float()) for name, t in out.items()}
    return arrays | {
        "counts": np.array([counts[norm] for norm in CASES[case].norms]),
        "shapes": np.array(json.dumps(shapes)),
        "parameters": np.array(list(gradients)),
    }


def check_timm(case: str) -> None:
    """Timm's ResNets are the same functions under the same names."""
    import timm
    import torch

    models = [make_model(case), timm.create_model(case, num_classes=NUM_CLASSES)]
    outputs = []
    for model in models:
        state = {n: random_tensor(n, tuple(t.shape)) for n, t in models[0].state_dict().items()}
        model.load_state_dict({n: torch.from_numpy(np.asarray(t)) for n, t in state.items()})
        outputs.append(model.eval()(torch.from_numpy(images(case)).permute(0, 3, 1, 2)))
    torch.testing.assert_close(*outputs)


def main() -> None:
    import torch

    for case in sys.argv[1:] or CASES:
        if case in ("resnet18", "resnet50", "resnext50_32x4d"):
            check_timm(case)
        # In float64, so that an error against it is all the other side's.
        arrays = make_arrays(case, torch.float64)
        short = make_arrays(case, torch.float32)
        for name, array in arrays.items():
            if array.dtype == np.float32:
                error = np.abs(short[name] - array).max() / np.abs(array).max()
                print(f"{case} {name} {array.shape}: {array.std():.3g}, float32 off by {error:.1e}")
        np.savez_compressed(HERE / f"classifiers_{case}.npz", **arrays)
        print((HERE / f"classifiers_{case}.npz").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
