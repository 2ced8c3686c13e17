"""Make augment.npz: torchvision's and Pillow's augmentations of a few images, and their draws.

Needs an environment apart from the project's: Python 3.11, torch 2.14.1 (CPU), torchvision 0.29.1,
Pillow 13.0.0, numpy 2.4.6. The photograph is scikit-image's, saved in the project's environment:

    .venv/bin/python -c "import skimage, PIL.Image as p; \
        p.fromarray(skimage.data.astronaut()).save('astronaut.png')"
    TORCHENV/bin/python tests/reference/make_augment.py --photograph astronaut.png

README.md here lists every array.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode, autoaugment, v2
from torchvision.transforms import functional as F

HERE = Path(__file__).parent
SIGNED_MAGNITUDES = (9, 30)
UNSIGNED_MAGNITUDES = (9, 16, 30)
WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
# (top, left, height, width): the whole canvas, both ways of stretching, shrinking and enlarging,
# one that keeps its size, and the corners.
BOXES = (
    *((0, 0, 64, 64), (3, 5, 61, 48), (10, 2, 40, 53), (20, 30, 32, 32)),
    *((1, 40, 24, 17), (47, 47, 17, 17), (30, 0, 9, 64), (63, 63, 1, 1)),
)
DRAWS = 4_000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def to_array(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def images(photograph: Image.Image) -> dict[str, np.ndarray]:
    """The canvas for crops, and four inputs of the operations."""
    face = photograph.crop((128, 0, 384, 256))
    resize = lambda width, height: np.array(face.resize((width, height), Image.Resampling.LANCZOS))  # noqa: E731
    noise = np.random.default_rng(0).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    constant = np.broadcast_to(np.array((200, 101, 30), np.uint8), (20, 16, 3))
    return {
        "canvas": resize(64, 64),
        "photo": resize(40, 48),
        "odd": resize(33, 21),
        "noise": noise,
        "constant": constant,
    }


def space(pixels: np.ndarray) -> dict[str, tuple[torch.Tensor, bool]]:
    height, width, _ = pixels.shape
    return autoaugment.RandAugment()._augmentation_space(31, (height, width))


def operations(name: str, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What each operation makes of one image: amounts [n] and results [n, h, w, 3]."""
    arrays = {}
    for op, (magnitudes, signed) in space(pixels).items():
        if name == "odd" and op not in WARPS:
            continue
        if magnitudes.ndim == 0:
            amounts = [0.0]
        elif signed:
            amounts = [sign * float(magnitudes[m]) for m in SIGNED_MAGNITUDES for sign in (1, -1)]
        else:
            amounts = [float(magnitudes[m]) for m in UNSIGNED_MAGNITUDES]
        nearest = InterpolationMode.NEAREST
        results = [
            to_array(autoaugment._apply_op(to_tensor(pixels), op, amount, nearest, None))
            for amount in amounts
        ]
        arrays[f"{name}_{op}_amounts"] = np.array(amounts)
        arrays[f"{name}_{op}"] = np.stack(results)
    return arrays


def magnitudes() -> dict[str, np.ndarray]:
    """The table of magnitudes of images of 48 x 40 pixels, in torchvision's order of operations."""
    table = space(np.zeros((48, 40, 3)))
    return {
        "op_names": np.array(list(table)),
        "op_signed": np.array([signed for _, signed in table.values()]),
        "op_magnitudes": np.stack([m.expand(31).numpy() for m, _ in table.values()]),
    }


def crops(canvas: np.ndarray) -> dict[str, np.ndarray]:
    image, pillow = to_tensor(canvas), Image.fromarray(canvas)
    by_torchvision = [to_array(F.resized_crop(image, *box, [32, 32])) for box in BOXES]
    by_pillow = [
        pillow.crop((left, top, left + width, top + height)).resize(
            (32, 32), Image.Resampling.BILINEAR
        )
        for top, left, height, width in BOXES
    ]
    central = F.center_crop(image, [33, 33])
    return {
        "boxes": np.array(BOXES),
        "resized_torchvision": np.stack(by_torchvision),
        "resized_pillow": np.stack([np.array(crop) for crop in by_pillow]),
        "central_33": to_array(F.normalize(F.convert_image_dtype(central), MEAN, STD)),
    }


def draws() -> dict[str, np.ndarray]:
    """Boxes (top, left, height, width) that torchvision draws, uint8 [DRAWS, 4]."""
    image = torch.zeros(3, 32, 48)
    crop, erase = transforms.RandomResizedCrop.get_params, transforms.RandomErasing.get_params
    cutmix = v2.CutMix(alpha=1.0, num_classes=2)
    arrays = {
        "crop_default": [crop(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(DRAWS)],
        "crop_large": [crop(image, (0.9, 1.0), (3 / 4, 4 / 3)) for _ in range(DRAWS)],
        "erase_default": [erase(image, (0.02, 0.33), (0.3, 3.3), [0.0])[:4] for _ in range(DRAWS)],
        "erase_large": [erase(image, (0.7, 0.99), (0.3, 3.3), [0.0])[:4] for _ in range(DRAWS)],
        "cutmix": [cutmix.make_params([image])["box"] for _ in range(DRAWS)],
    }
    left, top, right, bottom = np.array(arrays.pop("cutmix")).T
    boxes = {f"draws_{name}": np.array(rows, np.uint8) for name, rows in arrays.items()}
    return boxes | {
        "draws_cutmix": np.stack([top, left, bottom - top, right - left], 1).astype(np.uint8)
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photograph", type=Path, required=True)
    photograph = Image.open(parser.parse_args().photograph).convert("RGB")
    torch.manual_seed(0)
    inputs = images(photograph)
    arrays = inputs | magnitudes() | crops(inputs["canvas"]) | draws()
    for name in ("photo", "odd", "noise", "constant"):
        arrays |= operations(name, inputs[name])
    np.savez_compressed(HERE / "augment.npz", **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
