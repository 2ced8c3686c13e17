"""The fields every configuration has, with the paper's settings; each data set changes a few.

Sections end at the entry points: below them everything takes keyword arguments of the same names,
whose docstrings say what they mean (`source`: dreamda_jax/data, `method`: configs/methods.py and
dreamda_jax/synthesis, training: dreamda_jax/settings/sections.py, dreamda_jax/train/recipes.py and
dreamda_jax/algorithms/augment/policy.py).
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import methods


def get_config(method: str = "dreamda") -> ConfigDict:
    """Stable Diffusion 1.5 at 512 pixels, ten variants by a method of `methods`."""
    config = ConfigDict()
    config.model = ConfigDict(
        {
            "path": "stable-diffusion-v1-5/stable-diffusion-v1-5",  # or a directory, or "sample"
            "revision": placeholder(str),
            "dtype": "bfloat16",
            "attention": "auto",  # or "plain": no fused kernel on accelerators
        }
    )
    config.source = ConfigDict({"kind": "folder"})
    config.image = ConfigDict({"resolution": 512, "crop": "center"})
    config.prompt = ConfigDict({"template": "A photo of a {class}", "file": placeholder(str)})
    config.method = methods.method_config(method)
    config.synthesis = ConfigDict(
        {
            "num_variants": 10,  # the expansion: synthetic images per seed image
            "max_seeds": 0,  # 0 is the whole set
            "seed": 0,  # of every random draw
            "seeds_per_device": 1,  # seed images per call of the program on one device
            "seeds_per_shard": 8,  # what a run that is killed may lose
        }
    )
    config.output = ConfigDict({"path": "runs/expanded", "format": "png", "quality": 95})
    config.loader = ConfigDict({"num_workers": 4})  # worker processes that decode images
    _add_training(config)
    return config


def _add_training(config: ConfigDict) -> None:
    """The classifier: ResNet-50 on the real images, the official release's recipe."""
    config.classifier = ConfigDict(
        {
            "name": "resnet50",
            "weights": "scratch",  # or "pretrained", a safetensors file, a hub id
            "stem": "imagenet",
            "image_size": 0,  # 0 is the architecture's usual one
            "canvas": 0,
            "crop": "center",
            "dtype": "bfloat16",
        }
    )
    config.data = ConfigDict(
        {
            "train_on": "real",  # or "synthetic", "mixed"
            "synthetic": placeholder(str),  # default: output.path
            "synthetic_ratio": placeholder(float),  # default: every image once an epoch
            "expansion": 0,
        }
    )
    config.augment = ConfigDict(
        {
            "crop": "resized",
            "crop_scale_min": 0.08,
            "flip": True,
            "rand_augment": False,
            "rand_augment_ops": 2,
            "rand_augment_magnitude": 9,
            "rand_augment_random_magnitude": False,
            "random_erasing": 0.0,
            "cutmix": 0.0,
            "mixup": 0.0,
        }
    )
    config.train = ConfigDict(
        {
            "method": "supervised",
            "output": "runs/classifier",
            "num_runs": 1,
            "seed": 0,
            "checkpoint_every": 0,  # steps; 0 is once an epoch
            "log_every": 10,
            "fsdp": 1,
            "recipe": "official",  # gives what is not given here
            "optimizer": placeholder(str),
            "learning_rate": placeholder(float),
            "momentum": placeholder(float),
            "weight_decay": placeholder(float),
            "batch_size": placeholder(int),
            "num_epochs": placeholder(int),
            "num_steps": placeholder(int),
            "schedule": placeholder(str),
            "warmup_epochs": placeholder(float),
            "warmup_learning_rate": placeholder(float),
            "decay_epochs": placeholder(float),
            "decay_rate": placeholder(float),
            "label_smoothing": placeholder(float),
            "ema_decay": placeholder(float),
            "clip_norm": placeholder(float),
        }
    )
    _add_self_training(config)
    config.evaluate = _evaluate()
    config.finetune = _finetune()
    config.prompts = _prompts()
    # What differs from section `source`; a section whose fields are all None is not used.
    config.validation = _held_out()  # chooses the best weights
    config.test = _held_out()  # is reported


def _add_self_training(config: ConfigDict) -> None:
    """AMST (train.method=amst) with the paper's numbers, and SoftMatch (train.method=softmatch)."""
    config.strong = ConfigDict(
        {  # the strong view; what is not given is as in section augment
            "rand_augment": True,
            "rand_augment_ops": 2,
            "rand_augment_magnitude": 9,
            "rand_augment_random_magnitude": True,
            "random_erasing": 0.0,
        }
    )
    config.amst = ConfigDict(
        {
            "pseudo_labels": "amst",  # or "seed", "soft", "clip", a parquet file of verdicts
            "multi_head": True,
            "consistency": True,
            "orthogonality_weight": 0.001,
            "threshold": 0.01,
            "dropout_rate": 0.5,
            "num_passes": 20,
            "label_view": "eval",
            "stage1_steps": 0,  # 0: as for the real images alone
            "stage3_start": "stage1",
            "labelled_views": "weak",
            "unlabelled_ratio": 1,
            "max_rounds": 1,
        }
    )
    config.softmatch = ConfigDict({"num_labels": 0, "unlabelled_ratio": 7})
    config.consistency = ConfigDict(
        {
            "weighting": "softmatch",  # or "fixed": FixMatch
            "threshold": 0.95,  # of "fixed"
            "n_sigma": 2.0,
            "decay": 0.999,
            "alignment": True,
            "hard": True,
            "temperature": 0.5,  # of a target that is not hard
            "loss_weight": 1.0,
        }
    )
    config.unlabelled = _held_out()  # softmatch's images without labels
    config.clip = ConfigDict(
        {
            "path": "openai/clip-vit-large-patch14",  # or a directory, or "sample"
            "revision": placeholder(str),
            "template": "a photo of a {class}",
        }
    )
    config.audit = ConfigDict({"oracle": placeholder(str)})  # a directory, or "sample"


def _evaluate() -> ConfigDict:
    """`python -m dreamda_jax.evaluate`: see dreamda_jax/evaluate/options.py."""
    return ConfigDict(
        {
            "output": placeholder(str),  # default: the set's directory and "_report"
            "cache": "runs/features",
            "extractor": "inception",  # or "clip", or the directory of a trained classifier
            "inception_weights": placeholder(str),
            "resize": "clean",  # or "legacy"
            "clip": True,  # CMMD and CLIP score, with the CLIP of section clip
            "num_neighbours": 5,
            "kid_subsets": 100,
            "kid_subset_size": 1000,
            "max_hamming": 8,
            "max_thumbnail_ratio": 0.3,
            "max_feature_ratio": 0.2,
            "classifiers": "",  # output directories of train, separated by commas
            "gallery_seeds": 3,
            "gallery_variants": 8,
            "batch_size": 64,  # on each device
            "seed": 0,
        }
    )


def _finetune() -> ConfigDict:
    """`python -m dreamda_jax.finetune`: see dreamda_jax/finetune/options.py."""
    return ConfigDict(
        {
            "method": "full",  # or "lora", "textual_inversion"
            "output": "runs/finetuned",
            "cache": "runs/latents",
            "num_steps": 1000,
            "batch_size": 8,  # of a step, over all devices
            "accumulation": 1,
            "learning_rate": placeholder(float),  # default: by method
            "schedule": "constant",  # or "cosine"
            "warmup_steps": 50,
            "beta1": 0.9,
            "beta2": 0.999,
            "weight_decay": 0.01,
            "clip_norm": 1.0,
            "ema_decay": 0.9999,
            "weighting": "p2",  # or "min_snr", "none"
            "p2_gamma": 1.0,
            "p2_k": 1.0,
            "min_snr_gamma": 5.0,
            "flip": True,
            "prompt_dropout": 0.1,
            "sample_posterior": True,
            "lora_rank": 8,
            "lora_alpha": 8.0,
            "num_vectors": 1,  # of a class's token
            "remat": True,
            "fsdp": 0,  # 0: the state is split over all devices
            "seed": 0,
            "log_every": 10,
            "checkpoint_every": 0,
            "sample_every": 0,
            "num_samples": 16,
            "sample_steps": 50,
            "sample_guidance_scale": 7.5,
        }
    )


def _prompts() -> ConfigDict:
    """`python -m dreamda_jax.prompts`: see dreamda_jax/prompts/options.py."""
    return ConfigDict(
        {
            "writer": "chat",  # or "template"
            "per_class": 20,
            "output": "runs/prompts.jsonl",
            "classes": placeholder(str),  # default: those of section source
            "base_url": "https://api.openai.com/v1",
            "model": placeholder(str),
            "key_variable": "OPENAI_API_KEY",  # the key itself is written nowhere
            "request": placeholder(str),  # default: after the paper's wording
            "batch": 20,  # descriptions asked for in one request
            "min_words": 15,
            "max_words": 50,  # CLIP reads 77 tokens
            "temperature": 1.0,
            "timeout": 120.0,  # seconds
            "max_attempts": 5,
            "seed": 0,  # of "template"
            "attributes": placeholder(str),  # sentences and word lists of one's own
        }
    )


def _held_out() -> ConfigDict:
    return ConfigDict({name: placeholder(str) for name in ("kind", "path", "split", "name")})


def folder_source(**options) -> ConfigDict:
    """Section `source` of an image folder, with options that differ; the path is left open."""
    fields = {
        "kind": "folder",
        "path": placeholder(str),
        "classes": "auto",  # or "sub_folders", whatever they are called
        "label_pattern": placeholder(str),  # of file names that have the label in them
        "grey_max": placeholder(float),  # what is white in 16-bit grey, such as 4095
    }
    return ConfigDict({**fields, **options})


def get_tfds_config(
    name: str, method: str, *, split: str, num_variants: int, test_split: str = "test"
) -> ConfigDict:
    """The same for an image classification set of TFDS, written to runs/<name>."""
    config = get_config(method)
    config.source = ConfigDict(
        {
            "kind": "tfds",
            "name": name,
            "split": split,
            "data_dir": placeholder(str),  # default: ~/tensorflow_datasets
            "grey_max": placeholder(float),  # what is white in 16-bit grey, such as 4095
        }
    )
    config.synthesis.num_variants = num_variants
    config.output.path = methods.output(method, f"runs/{name}")
    config.train.output = f"runs/{name}_classifier"
    config.finetune.output = f"runs/{name}_finetuned"
    config.test.split = test_split
    return config
