"""Make clip.npz with PyTorch transformers' CLIPModel and its slow, Pillow-based CLIPImageProcessor.

Needs an environment apart from the project's: Python 3.11, transformers 4.57.6, torch 2.13.0,
pillow, numpy, safetensors.

    TORCH/bin/python tests/reference/make_clip.py

README.md here lists every array. The tests import the constants and `write_random_clip`.
"""

import json
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np
import safetensors.numpy

SAMPLE = Path(__file__).parents[2] / "dreamda_jax" / "sample"
LABELS = "t-shirt, trousers, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot"
PROMPTS = tuple(f"a photo of a {name}" for name in LABELS.split(", "))
TEST_IMAGES = tuple(range(0, 4000, 500))

# What the tiny CLIP has not: exact GELU, a legacy end token, towers of other widths, images that
# are resized, in another ratio, cropped and normalised by numbers of their own.
CONFIG = {
    "model_type": "clip",
    "projection_dim": 40,
    "text_config": {
        "model_type": "clip_text_model",
        "hidden_act": "gelu",
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 16,
        "vocab_size": 635,
        "eos_token_id": 2,
        "projection_dim": 40,
    },
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_act": "gelu",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 40,
    },
}
PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 36},
    "crop_size": {"height": 32, "width": 32},
    "image_mean": [0.4, 0.5, 0.45],
    "image_std": [0.2, 0.25, 0.3],
}
RANDOM_PROMPTS = (
    "a photo of a bag",
    "",
    "A grey SHIRT, wide!",
    "a very long photo of an ankle boot beside another ankle boot and one more wide ankle boot",
)


def random_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights that depend on the name alone: norms near 1, biases near 0, others by fan-in."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    if name == "logit_scale":
        return np.float32(2.5) + 0 * values
    if "norm" in name or "layrnorm" in name:
        return 0.2 * values + name.endswith("weight")
    if name.endswith("bias") or ("embedding" in name and "patch" not in name):
        return 0.3 * values
    return values / np.float32(np.sqrt(np.prod(shape[1:])))


def random_images() -> np.ndarray:
    """uint8 [4, 60, 48, 3]: noise, coarse noise (bicubic overshoots at its edges), a gradient."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2, 60, 48, 3))
    coarse = rng.integers(0, 2, (1, 10, 8, 3)).repeat(6, axis=1).repeat(6, axis=2) * 255
    rows, columns = np.mgrid[:60, :48]
    gradient = np.stack([rows * 4, columns * 5, (rows + columns) * 2], axis=-1)[None]
    return np.concatenate([noise, coarse, gradient]).astype(np.uint8)


def write_random_clip(directory: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write the random checkpoint with the tiny CLIP's tokenizer, and the buffers of old files."""
    tensors = {name: random_tensor(name, shape) for name, shape in shapes.items()}
    for tower, length in (("text_model", 16), ("vision_model", 17)):
        tensors[f"{tower}.embeddings.position_ids"] = np.arange(length)[None]
    tensors = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    directory.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    for name in ("vocab", "merges", "tokenizer_config", "special_tokens_map"):
        for file in (SAMPLE / "tiny_clip").glob(f"{name}.*"):
            shutil.copy(file, directory)


def sample_images() -> np.ndarray:
    """uint8 [8, 32, 32, 3] of fashion20's test split, as SampleSource gives them."""
    with np.load(SAMPLE / "fashion20.npz") as arrays:
        images = arrays["test_images"][list(TEST_IMAGES)]
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return np.repeat(padded[..., None], 3, axis=-1)


def run(directory: Path, images: np.ndarray, prompts: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Pixels [b, h, w, 3], logits and probabilities [b, C] of PyTorch transformers."""
    import torch
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    model, report = CLIPModel.from_pretrained(directory, output_loading_info=True)
    assert not any(report.values()), report
    processor = CLIPImageProcessor.from_pretrained(directory)
    pixels = processor([Image.fromarray(i) for i in images], return_tensors="pt").pixel_values
    tokens = CLIPTokenizer.from_pretrained(directory)(
        list(prompts), padding="max_length", max_length=16, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = model.eval()(**tokens, pixel_values=pixels).logits_per_image
    return {
        "pixels": pixels.permute(0, 2, 3, 1).numpy(),
        "logits": logits.numpy(),
        "probabilities": logits.softmax(-1).numpy(),
    }


def main() -> None:
    from transformers import CLIPConfig, CLIPModel

    state = CLIPModel(CLIPConfig(**CONFIG)).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    weights = [random_tensor(name, shape) for name, shape in shapes.items()]
    with tempfile.TemporaryDirectory() as directory:
        write_random_clip(Path(directory), shapes)
        random = run(Path(directory), random_images(), RANDOM_PROMPTS)
    tiny = run(SAMPLE / "tiny_clip", sample_images(), PROMPTS)
    arrays = {
        "shapes": np.asarray(json.dumps(shapes)),
        "weights_sum": np.asarray(sum(np.abs(tensor).sum(dtype=np.float64) for tensor in weights)),
        **{f"tiny/{name}": array for name, array in tiny.items() if name != "pixels"},
        **{f"random/{name}": array for name, array in random.items()},
    }
    np.savez_compressed(Path(__file__).parent / "clip.npz", **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
