"""The commands of the runs in this folder, given in it: relative paths only."""

CONFIG = "folder"

_IMAGES = ("--config.source.path=images/train", "--config.loader.num_workers=0")
_MODEL = (
    *("--config.model.path=model", "--config.model.dtype=float32"),
    "--config.image.resolution=8",
)
_GENERATE = (
    *(*_IMAGES, *_MODEL, "--config.method.num_inference_steps=5"),
    *("--config.synthesis.num_variants=2", "--config.synthesis.seeds_per_shard=2"),
)
_CLASSIFIER = (
    *(*_IMAGES, "--config.test.path=images/test", "--config.classifier.name=resnet_tiny"),
    *("--config.classifier.image_size=8", "--config.classifier.canvas=8"),
    *("--config.classifier.dtype=float32", "--config.augment.crop=shifted"),
    "--config.classifier.weights=weights",
    *("--config.train.batch_size=2", "--config.train.num_steps=4"),
    *("--config.train.checkpoint_every=2", "--config.train.log_every=1"),
)

COMMANDS: dict[str, tuple[str, ...]] = {
    "generate": ("generate", *_GENERATE, "--config.output.path=generate"),
    "train": ("train", *_CLASSIFIER, "--config.train.output=train"),
    "amst": (
        *("train", *_CLASSIFIER, "--config.train.output=amst", "--config.train.method=amst"),
        *("--config.output.path=whole", "--config.amst.stage1_steps=2"),
        *("--config.amst.num_passes=2", "--config.strong.rand_augment=False"),
        "--config.amst.threshold=10.0",
    ),
    "finetune": (
        *("finetune", *_IMAGES, *_MODEL, "--config.finetune.output=finetune"),
        *("--config.finetune.method=lora", "--config.finetune.cache=latents"),
        *("--config.finetune.num_steps=4", "--config.finetune.batch_size=2"),
        *("--config.finetune.checkpoint_every=2", "--config.finetune.log_every=1"),
        *("--config.finetune.num_samples=0", "--config.finetune.warmup_steps=0"),
        "--config.finetune.lora_rank=1",
    ),
    "prompts": (
        *("prompts", *_IMAGES, "--config.prompts.writer=template"),
        *("--config.prompts.output=prompts.jsonl", "--config.prompts.per_class=4"),
    ),
    "reproduce": (
        *("reproduce", *_GENERATE, "--study=scales", "--scales=0,3", "--output=reproduce"),
        *("--config.audit.oracle=sample", "--config.evaluate.cache=features"),
        *("--config.evaluate.extractor=sample", "--config.evaluate.clip=False"),
    ),
}
"""By the name of a run the module below `dreamda_jax` and its arguments besides `--config`."""
