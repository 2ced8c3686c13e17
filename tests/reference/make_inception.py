"""Make inception.npz: FID's Inception-v3 of torch-fidelity and pytorch-fid, clean-fid's resizing.

Needs an environment apart from the project's: Python 3.11, torch 2.13.0 (CPU), torchvision 0.28.0,
torch-fidelity 0.4.0, pytorch-fid 0.3.0, clean-fid 0.1.35, pillow 13.0.0, numpy 2.4.6.

    TORCH/bin/python tests/reference/make_inception.py

Weights and images are not stored: `random_tensor` and `images` make them from their names, here and
in the tests, which import this file without torch. README.md here lists every array.
"""

import json
import zlib
from pathlib import Path
from unittest import mock

import numpy as np

SIDE = 299
SIZES = {  # batch, height, width
    "small": (2, 48, 40),  # both axes grow
    "large": (1, 350, 640),  # both shrink
    "mixed": (1, 410, 33),
    "same": (1, SIDE, SIDE),
}
# Places of a resized image that are stored, both ends among them.
KEPT = np.unique(np.r_[:3, 3 : SIDE - 3 : 14, SIDE - 3 : SIDE])
BLOCKS = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6a", "Mixed_6e", "Mixed_7a")


def random_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight called `name`, float32: the same everywhere, and activations of O(1).

    Variances spread over about 0.1..10: where they are small, epsilon matters.
    """
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    if name.endswith("running_var"):
        return np.exp(0.8 * noise)
    if name.endswith("bn.weight"):
        return 1 + 0.2 * noise
    if len(shape) == 1:
        return 0.2 * noise
    return noise * np.float32(np.sqrt(1.4 / np.prod(shape[1:])))


def images(size: str) -> np.ndarray:
    """uint8 [b, h, w, 3]: noise, then black and white squares (where bicubic overshoots)."""
    batch, height, width = SIZES[size]
    rng = np.random.default_rng(zlib.crc32(size.encode()))
    noise = rng.integers(0, 256, (1, height, width, 3))
    rows, columns = np.mgrid[:height, :width]
    squares = (rows // 7 + columns // 5) % 2 * 255
    colours = np.stack([squares, 255 - squares, rows * 255 // height], axis=-1)
    return np.concatenate([noise, colours[None]])[:batch].astype(np.uint8)


def resized(size: str) -> dict[str, np.ndarray]:
    """The images called `size` at 299x299 by clean-fid and torch-fidelity, float32, 0..255."""
    import torch
    from cleanfid.resize import build_resizer
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x as interpolate,
    )

    pixels = torch.from_numpy(images(size)).permute(0, 3, 1, 2).float()
    legacy = interpolate(pixels, size=(SIDE, SIDE), align_corners=False)
    clean = build_resizer("clean")
    return {
        "clean": np.stack([clean(image) for image in images(size)]),
        "legacy": legacy.permute(0, 2, 3, 1).numpy(),
    }


def networks():
    """Both ports with random weights in place of what they would download, and these weights."""
    import pytorch_fid.inception as fid
    import torch
    import torch_fidelity.feature_extractor_inceptionv3 as fidelity

    loader = "load_state_dict_from_url"
    extractor = fidelity.FeatureExtractorInceptionV3
    with mock.patch.object(fidelity, loader), mock.patch.object(extractor, "load_state_dict"):
        theirs = extractor("inception", ["2048"])
    weights = {
        name: torch.from_numpy(random_tensor(name, tuple(tensor.shape)))
        for name, tensor in theirs.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    theirs.load_state_dict(weights)
    with mock.patch.object(fid, loader, return_value=weights):
        other = fid.InceptionV3(resize_input=False, normalize_input=False)
    return theirs, other.eval(), weights


def main() -> None:
    import torch

    fidelity, fid, weights = networks()
    views = {size: resized(size) for size in SIZES}
    arrays = {
        "shapes": json.dumps({name: tuple(tensor.shape) for name, tensor in weights.items()}),
        "weights_sum": np.sum([t.abs().sum(dtype=torch.float64) for t in weights.values()]),
    } | {
        f"{mode}_{size}": view[:, KEPT][:, :, KEPT]
        for size in SIZES
        for mode, view in views[size].items()
    }

    def fid_features(view):
        return fid(torch.from_numpy(view).permute(0, 3, 1, 2))[0][:, :, 0, 0].numpy()

    means = {}
    for name in BLOCKS:
        getattr(fidelity, name).register_forward_hook(
            lambda _module, _inputs, output, name=name: means.update({name: output.mean((2, 3))})
        )
    small = images("small")
    with torch.no_grad():
        legacy = fidelity(torch.from_numpy(small).permute(0, 3, 1, 2))[0].numpy()
        # clean-fid's own network is a TorchScript file that it downloads; this is what it is fed.
        clean = fid_features((views["small"]["clean"] - 128) / 128)
        arrays |= {"features_legacy": legacy, "features_clean": clean}
        arrays |= {f"mean_{name}": mean.numpy() for name, mean in means.items()}
        np.savez_compressed(Path(__file__).with_name("inception.npz"), **arrays)

        same_view = fid_features((views["small"]["legacy"] - 128) / 128)
        fid.resize_input = fid.normalize_input = True
        own_view = fid_features(np.float32(small / 255))
        fidelity.double().feature_extractor_internal_dtype = torch.float64
        exact = fidelity(torch.from_numpy(small).permute(0, 3, 1, 2))[0].numpy()
    for what, found in (
        ("pytorch-fid's network on torch-fidelity's view", same_view),
        ("pytorch-fid with its own resizing and scaling", own_view),
        ("torch-fidelity in float64", exact),
        ("the clean view", clean),
    ):
        error = np.abs(found - legacy).max() / np.abs(legacy).max()
        print(f"{what}: {error:.1e} from torch-fidelity, relative to the largest feature")


if __name__ == "__main__":
    main()
