"""The numbers of a report: every metric with its interval, beside what real images give."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dreamda_jax.algorithms.metrics import clip_score, fid, jackknife, kid, mmd
from dreamda_jax.algorithms.metrics.intervals import Estimate, mean_estimate
from dreamda_jax.algorithms.metrics.precision_recall import precision_recall
from dreamda_jax.options.evaluate import Evaluate

_FID_GROUPS = 20
_NAN = float("nan")


def or_none(value: float) -> float | None:
    """A number that JSON can hold."""
    return float(value) if np.isfinite(value) else None


Measured = dict[str, Estimate | str]
"""By metric its figure, or why there is none."""


class Compared(NamedTuple):
    """Features of two sets.

    Attributes:
      real: [n, d], what is compared with.
      other: [m, d], the images to judge.
      clusters: int64 [m], which of them belong together (the variants of a seed), or None.
    """

    real: np.ndarray
    other: np.ndarray
    clusters: np.ndarray | None = None


def measure_features(of: Compared, options: Evaluate) -> Measured:
    """FID, KID, MMD², precision, recall, density and coverage.

    Args:
      of: features of one extractor.
      options: k, the subsets of KID, and the seed.
    """
    shares = _or_reason(
        lambda: precision_recall(of.real, of.other, k=options.num_neighbours)._asdict()
    )
    measured: Measured = {
        "fid": _or_reason(lambda: _fid(of, options)),
        "kid": _or_reason(
            lambda: kid.kid_estimate(
                kid.kid(
                    of.real,
                    of.other,
                    subsets=options.kid_subsets,
                    subset_size=options.kid_subset_size,
                    seed=options.seed,
                )
            )
        ),
        "mmd": _or_reason(lambda: _mmd(of)),
    }
    for name in ("precision", "recall", "density", "coverage"):
        if isinstance(shares, str):
            measured[name] = shares
            continue
        # Precision and density are means over the images judged, the others over the real ones.
        clusters = of.clusters if name in ("precision", "density") else None
        values = np.asarray(shares[name], np.float64)
        measured[name] = mean_estimate(values, seed=options.seed, clusters=clusters)
    return measured


def measure_embeddings(
    of: Compared, prompts: np.ndarray, labels: np.ndarray, options: Evaluate
) -> Measured:
    """CMMD and CLIP score.

    Args:
      of: CLIP's embeddings of images, of length 1.
      prompts: those of the classes' prompts, [c, d].
      labels: int [m], the class of every image to judge.
      options: the seed.
    """

    def score() -> Estimate:
        values = clip_score.clip_scores(of.other, prompts, labels)
        return mean_estimate(values, seed=options.seed, clusters=of.clusters)

    return {
        "cmmd": _or_reason(
            lambda: mmd.cmmd_estimate(mmd.cmmd(of.real, of.other), synthetic_clusters=of.clusters)
        ),
        "clip_score": _or_reason(score),
    }


def metric_rows(
    measured: Mapping[str, Estimate | str],
    baseline: Mapping[str, Estimate | str],
    *,
    options: Evaluate,
    extractor: str,
    num_features: int,
) -> list[dict[str, Any]]:
    """The report's entries, in the order of the page.

    Args:
      measured: of the images to judge.
      baseline: of other real images, or empty.
      options: what the notes name.
      extractor: likewise.
      num_features: likewise.
    """
    rows = []
    for name, (label, better, note) in _described(options, extractor, num_features).items():
        if name not in measured:
            continue
        found = measured[name]
        if isinstance(found, str):
            note, found = f"Not measured: {found}.", Estimate(_NAN, _NAN, _NAN)
        beside = baseline.get(name)
        rows.append(
            {
                "name": name,
                "label": label,
                "better": better,
                "note": note,
                "value": or_none(found.value),
                "low": or_none(found.low),
                "high": or_none(found.high),
                "baseline": or_none(beside.value) if isinstance(beside, Estimate) else None,
            }
        )
    return rows


def _described(
    options: Evaluate, extractor: str, num_features: int
) -> dict[str, tuple[str, str, str]]:
    """By metric its label, what is better, and what a reader has to know."""
    k = options.num_neighbours
    foreign = "" if extractor == "inception" else " Not comparable with FIDs of Inception features."
    return {
        "fid": (
            "FID",
            "lower",
            "Fréchet distance of two normal distributions. The fewer images there are, the higher "
            f"it is, above all with fewer than the {num_features:,} features.{foreign}",
        ),
        "kid": ("KID", "lower", "Cubic kernel; its mean does not depend on how many images."),
        "cmmd": ("CMMD", "lower", "MMD² of CLIP embeddings, σ = 10, times 1,000."),
        "mmd": (
            "MMD²",
            "lower",
            "Gaussian kernel as wide as the median distance of real images; unbiased.",
        ),
        "precision": ("Precision", "higher", f"Synthetic images near a real one; k = {k}."),
        "recall": ("Recall", "higher", f"Real images near a synthetic one; k = {k}."),
        "density": (
            "Density",
            "higher",
            f"How densely real images lie around synthetic ones; may exceed 1; k = {k}.",
        ),
        "coverage": (
            "Coverage",
            "higher",
            f"Real images with a synthetic one among their neighbours; k = {k}.",
        ),
        "clip_score": (
            "CLIP score",
            "higher",
            "100 × the cosine of an image and the prompt of its class.",
        ),
    }


def _fid(of: Compared, options: Evaluate) -> Estimate:
    groups = len(of.other) if of.clusters is None else len(np.unique(of.clusters))
    if min(len(of.real), groups) < 2 * _FID_GROUPS:  # too few to leave some out
        return Estimate(fid.fid(of.real, of.other), _NAN, _NAN)
    found = jackknife.fid_estimate(
        of.real,
        of.other,
        groups=_FID_GROUPS,
        seed=options.seed,
        synthetic_clusters=of.clusters,
    )
    return found._replace(low=max(found.low, 0.0))  # a distance is not negative


def _mmd(of: Compared) -> Estimate:
    sigma = mmd.median_bandwidth(of.real)
    return mmd.mmd_estimate(mmd.mmd(of.real, of.other, sigma=sigma), synthetic_clusters=of.clusters)


def _or_reason(measure: Callable[[], Any]) -> Any:
    """What it gives, or the words of its ValueError: too few images, or all of them equal."""
    try:
        return measure()
    except ValueError as error:
        return str(error)
