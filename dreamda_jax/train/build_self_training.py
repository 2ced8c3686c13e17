"""From a configuration to the checked sections that self-training has besides."""

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
from dreamda_jax.data.sources import subset
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers.oracle import open_oracle
from dreamda_jax.models.clip import files
from dreamda_jax.options.checkpoints import Clip
from dreamda_jax.options.classifier import Audit
from dreamda_jax.options.self_training import STRONG, Amst, SoftMatch
from dreamda_jax.settings import binding

LABELLINGS = ("amst", "soft", "clip", "seed")
"""Values of `amst.pseudo_labels` that name no file."""


class AmstSections(NamedTuple):
    """Of method "amst".

    Attributes:
      strong: the strong view: section "augment" with section "strong" over it.
      consistency: section "consistency"; likewise amst, clip and audit.
      labels_digest: of the file of verdicts that labels are taken from, or None.
    """

    strong: Augment
    consistency: Consistency
    amst: Amst
    clip: Clip
    audit: Audit
    labels_digest: str | None


class SoftMatchSections(NamedTuple):
    """Of method "softmatch".

    Attributes:
      strong: the strong view: section "augment" with section "strong" over it.
      consistency: section "consistency"; likewise softmatch.
    """

    strong: Augment
    consistency: Consistency
    softmatch: SoftMatch


def amst_sections(
    config: Mapping[str, Any], augment: Augment, real: sources.Source
) -> AmstSections:
    """Checks the sections of AMST, and that what they name is there.

    Args:
      config: the whole configuration.
      augment: section "augment", here the weak view.
      real: the labelled images.

    Raises:
      UserError: a value is out of range, a class has fewer than two images, or a file of labels,
        the oracle or CLIP is not there.
    """
    bind = functools.partial(binding.bind, config)
    strong = _strong(config, augment, method="amst")
    amst, clip, audit = bind("amst", Amst), bind("clip", Clip), bind("audit", Audit)
    _check_labelling(amst)
    subset.check_two_per_class(real)
    if audit.oracle:
        open_oracle(audit.oracle, real.label_names)  # raises before stage 1 is paid for
    if audit.oracle or amst.pseudo_labels == "clip":
        files.find_clip(clip.path, revision=clip.revision)
    return AmstSections(
        strong=strong,
        consistency=bind("consistency", Consistency),
        amst=amst,
        clip=clip,
        audit=audit,
        labels_digest=_labels_digest(amst.pseudo_labels),
    )


def softmatch_sections(
    config: Mapping[str, Any], augment: Augment, real: sources.Source
) -> SoftMatchSections:
    """Checks the sections of SoftMatch.

    Args:
      config: the whole configuration.
      augment: section "augment", here the weak view.
      real: the labelled images.

    Raises:
      UserError: a value is out of range, a class has fewer than two images, or so many labelled
        images cannot be drawn.
    """
    strong = _strong(config, augment, method="softmatch")
    softmatch = binding.bind(config, "softmatch", SoftMatch)
    subset.check_two_per_class(real)
    if softmatch.num_labels:
        subset.draw_labelled(real, softmatch.num_labels, seed=0)  # raises if it cannot be
    return SoftMatchSections(
        strong=strong,
        consistency=binding.bind(config, "consistency", Consistency),
        softmatch=softmatch,
    )


def _strong(config: Mapping[str, Any], augment: Augment, *, method: str) -> Augment:
    if augment.rand_augment or augment.random_erasing:
        raise UserError(
            f"train.method={method} learns from two views of an image: section augment is the weak "
            "one, which has crop and flip only. Give rand_augment and random_erasing in section "
            "strong, such as --config.strong.random_erasing=0.5"
        )
    given = {**STRONG, **config.get("strong", {})}
    both = {**dataclasses.asdict(augment), **{k: v for k, v in given.items() if v is not None}}
    return binding.bind({"strong": both}, "strong", Augment)


def _check_labelling(amst: Amst) -> None:
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


def _labels_digest(labelling: str) -> str | None:
    if labelling in LABELLINGS:
        return None
    return hashlib.sha256(check_regular(staging.local(labelling)).read_bytes()).hexdigest()
