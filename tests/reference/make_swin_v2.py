"""Make swin_v2.npz: Swin Transformer V2 tiny in torchvision and timm, on weights made from names.

Needs an environment apart from the project's: Python 3.11, torch 2.14.1 (CPU), torchvision 0.29.1,
timm 1.0.31, numpy 2.4.6.

    TORCHENV/bin/python tests/reference/make_swin_v2.py

Weights and images are not stored: `random_tensor` makes them from their names, here and in the
tests, which import this file without torch. README.md here lists every array.
"""

import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

NUM_CLASSES = 10
SIZES = {  # batch, height, width
    "256": (2, 256, 256),  # whole windows, shifted in all stages but the last
    "64": (2, 64, 64),  # the later stages are smaller than a window
    "96x160": (2, 96, 160),  # padded, and 8x16 tokens shifted along one axis only
}
GRADIENT_SIZE = "96x160"
LABELS = (3, 7)
GRADIENTS = (  # stored whole; of all others the norm
    "features.7.1.attn.logit_scale",  # two of 24 heads clamped
    "features.3.1.attn.qkv.bias",
    "features.5.3.attn.cpb_mlp.0.bias",
    "features.6.norm.weight",
    "features.7.1.norm1.weight",
)


def random_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight or image called `name`, float32: the same everywhere, and activations of O(1).

    Logit scales spread over 0.1..1000, so that some are clamped. Position biases spread over most
    of 0..16. The keys' bias, which must be ignored, is no smaller than the others.
    """
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    if name.endswith("logit_scale"):
        return (np.log(10) + 1.5 * noise).astype(np.float32)
    if name.endswith("bias"):
        return noise * np.float32(0.3)
    if len(shape) == 1:  # the weight of a norm
        return 1 + noise * np.float32(0.3)
    if name.startswith("images"):
        return noise
    gain = 1.5 if "cpb_mlp" in name else 1.0
    return noise * np.float32(gain / np.sqrt(np.prod(shape[1:])))


def to_timm(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Torchvision's tensors under timm's names, which loading them into its model checks."""
    out = {}
    for name, tensor in tensors.items():
        name = name.replace("features.0.0.", "patch_embed.proj.")
        name = name.replace("features.0.2.", "patch_embed.norm.")
        name = name.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
        name = re.sub(r"^head\.", "head.fc.", name)
        found = re.match(r"features\.(\d+)\.", name)
        if found:
            i, rest = int(found[1]), name[found.end() :]
            name = (
                f"layers.{i // 2}.blocks.{rest}" if i % 2 else f"layers.{i // 2}.downsample.{rest}"
            )
        if name.endswith("qkv.bias"):
            query, _, value = np.split(tensor, 3)
            out[name.replace("qkv.bias", "q_bias")] = query
            out[name.replace("qkv.bias", "v_bias")] = value
        else:
            out[name] = tensor
    return out


def images(size: str) -> np.ndarray:
    return random_tensor(f"images_{size}", (*SIZES[size], 3))


def main() -> None:
    import timm
    import torch
    from torchvision.models import swin_v2_t

    def load(model: torch.nn.Module, tensors: Mapping[str, np.ndarray]) -> torch.nn.Module:
        state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
        buffers = {n: t for n, t in model.state_dict().items() if "relative_" in n}
        model.load_state_dict({**buffers, **state})
        return model.eval()

    def nchw(size: str) -> torch.Tensor:
        return torch.from_numpy(images(size)).permute(0, 3, 1, 2)

    model = swin_v2_t(num_classes=NUM_CLASSES)
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters()}
    tensors = {name: random_tensor(name, shape) for name, shape in shapes.items()}
    load(model, tensors)
    out = {
        "names": np.array(list(shapes)),
        "weights_sum": np.sum([np.abs(t).sum(dtype=np.float64) for t in tensors.values()]),
    }
    captured = {}
    model.flatten.register_forward_hook(lambda _m, _i, result: captured.update(features=result))
    with torch.no_grad():
        for size in SIZES:
            out[f"logits_{size}"] = model(nchw(size)).numpy()
            out[f"features_{size}"] = captured["features"].numpy()

    loss = torch.nn.functional.cross_entropy(model(nchw(GRADIENT_SIZE)), torch.tensor(LABELS))
    loss.backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
    out["loss"] = loss.detach().numpy()
    norms = [np.sqrt(np.square(g, dtype=np.float64).sum()) for g in gradients.values()]
    out["gradient_norms"] = np.array(norms, np.float32)
    out |= {f"gradient_{name}": gradients[name] for name in GRADIENTS}

    def timm_model(tensors: Mapping[str, np.ndarray]) -> torch.nn.Module:
        model = timm.create_model("swinv2_tiny_window8_256", num_classes=NUM_CLASSES)
        return load(model, tensors)

    renamed = to_timm(tensors)
    own = {name: random_tensor(name, tensor.shape) for name, tensor in renamed.items()}
    with torch.no_grad():
        out["timm_logits_renamed"] = timm_model(renamed)(nchw("256")).numpy()
        out["timm_logits_own"] = timm_model(own)(nchw("256")).numpy()
    print("torchvision against timm:", np.abs(out["timm_logits_renamed"] - out["logits_256"]).max())
    np.savez_compressed(Path(__file__).with_name("swin_v2.npz"), **out)


if __name__ == "__main__":
    main()
