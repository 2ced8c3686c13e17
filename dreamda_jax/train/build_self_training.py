"""From a configuration to the checked objects that self-training needs besides."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.algorithms.selftrain.options import Consistency
from dreamda_jax.data import sources
from dreamda_jax.data.files import staging
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.data.sources import subset, unlabelled
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers.oracle import open_oracle
from dreamda_jax.models.clip import files
from dreamda_jax.options.checkpoints import Clip
from dreamda_jax.options.classifier import Audit
from dreamda_jax.options.self_training import STRONG, Amst, SoftMatch
from dreamda_jax.settings import binding

SECTIONS = {
    "amst": ("strong", "amst", "consistency", "clip"),
    "softmatch": ("strong", "softmatch", "consistency", "unlabelled"),
}
"""Sections that decide a method's result, besides those of every training."""
LABELLINGS = ("amst", "soft", "clip", "seed")


class SelfTraining(NamedTuple):
    """Of methods "amst" and "softmatch".

    Attributes:
      strong: the strong view: section "augment" with section "strong" over it.
      consistency: the loss of images without a label.
      amst: its numbers; likewise softmatch, clip and audit.
      unlabelled: images without labels, or None for AMST.
      labels_digest: of the file of verdicts that labels are taken from, or None.
    """

    strong: Augment
    consistency: Consistency
    amst: Amst
    softmatch: SoftMatch
    clip: Clip
    audit: Audit
    unlabelled: sources.Source | None
    labels_digest: str | None


def self_training(
    config: Mapping[str, Any],
    augment: Augment,
    *,
    method: str,
    real: sources.Source,
    test: sources.Source | None,
) -> SelfTraining:
    """Checks the sections of self-training and opens what they name.

    Args:
      config: the whole configuration.
      augment: section "augment", here the weak view.
      method: "amst" or "softmatch".
      real: the labelled images.
      test: the test images.

    Raises:
      UserError: a value is out of range, a class has fewer than two images, there is no unlabelled
        set or it is the test set.
    """
    bind = functools.partial(binding.bind, config)
    if augment.rand_augment or augment.random_erasing:
        raise UserError(
            f"train.method={method} learns from two views of an image: section augment is the weak "
            "one, which has crop and flip only. Give rand_augment and random_erasing in section "
            "strong, such as --config.strong.random_erasing=0.5"
        )
    given = {**STRONG, **config.get("strong", {})}
    both = {**dataclasses.asdict(augment), **{k: v for k, v in given.items() if v is not None}}
    strong = binding.bind({"strong": both}, "strong", Augment)
    amst = bind("amst", Amst)
    if amst.pseudo_labels not in LABELLINGS and not staging.local(amst.pseudo_labels).is_file():
        raise UserError(
            f"amst.pseudo_labels={amst.pseudo_labels!r} is neither one of "
            f"{', '.join(LABELLINGS)} nor a parquet file of verdicts that is there"
        )
    if amst.max_rounds > 1 and amst.pseudo_labels not in ("amst", "soft"):
        raise UserError(
            f"amst.max_rounds={amst.max_rounds}: labels of amst.pseudo_labels="
            f"{amst.pseudo_labels!r} are the same in every round. Use 1, or amst or soft labels."
        )
    subset.check_two_per_class(real)
    softmatch, clip, audit = (
        bind("softmatch", SoftMatch),
        bind("clip", Clip),
        bind("audit", Audit),
    )
    if method == "softmatch" and softmatch.num_labels:
        subset.draw_labelled(real, softmatch.num_labels, seed=0)  # raises if it cannot be
    if method == "amst" and audit.oracle:
        open_oracle(audit.oracle, real.label_names)  # likewise, before stage 1 is paid for
    if method == "amst" and (audit.oracle or amst.pseudo_labels == "clip"):
        files.find_clip(clip.path, revision=clip.revision)
    found = _unlabelled(config, real, test) if method == "softmatch" else None
    return SelfTraining(
        strong=strong,
        consistency=bind("consistency", Consistency),
        amst=amst,
        softmatch=softmatch,
        clip=clip,
        audit=audit,
        unlabelled=found,
        labels_digest=_labels_digest(amst.pseudo_labels) if method == "amst" else None,
    )


def _labels_digest(labelling: str) -> str | None:
    if labelling in LABELLINGS:
        return None
    return hashlib.sha256(check_regular(staging.local(labelling)).read_bytes()).hexdigest()


def _unlabelled(
    config: Mapping[str, Any], real: sources.Source, test: sources.Source | None
) -> sources.Source:
    options = sources.overridden(config["source"], config.get("unlabelled", {}))
    if not options:
        raise UserError(
            "train.method=softmatch needs images without labels: give section unlabelled, such as "
            "--config.unlabelled.kind=folder --config.unlabelled.path=my_images (any folder) or, "
            "for a TFDS set, --config.unlabelled.split=unlabelled"
        )
    source = unlabelled.open_unlabelled(real.label_names, **options)
    if test is not None:
        shared = unlabelled.refuse_test_images(source, test, what="section unlabelled")
        if shared:
            print(f"note        {shared:,} test images are among the unlabelled ones", flush=True)
    return source
