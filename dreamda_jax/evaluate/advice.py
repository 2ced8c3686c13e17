"""What to do next, from the numbers of a report: rules, each with its reason.

Thresholds are of two kinds. Where other real images give a baseline, a metric is judged against
that, since how high precision can be depends on the set and its size. Others are round numbers
that say when a person should look.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dreamda_jax.evaluate import gain
from dreamda_jax.evaluate.noise_advice import less_noise, more_noise
from dreamda_jax.evaluate.page.numbers import is_number, percent, points, significant

_LOW = 0.75  # of the baseline: precision, recall, diversity below it are low
_LOW_WITHOUT_BASELINE = 0.5
_MANY_COPIES = 0.01  # of the synthetic images
_FAR = 2.0  # times the median of the classes' FIDs
_FEW_ACCEPTED = 0.5
_PAPERS_EXPANSION = 10  # DreamDA's experiments expand by 10 to 30
_MOST_NAMED = 5

Report = Mapping[str, Any]


def advice(report: Report) -> list[str]:
    """Sentences, the most urgent first; none if no rule applies.

    Args:
      report: as `page.write_page` takes it; "advice" and "warnings" are not read. Metrics are known
        by their names "fid", "precision" and "recall", the settings by the configuration's sections
        and fields; what is missing is passed over.

    Returns:
      Names of fields and commands stand between backticks.
    """
    return [sentence for rule in _RULES for sentence in rule(report)]


def leaked_test_images(report: Report) -> Iterator[str]:
    """A classifier trained on what looks like test images is measured too well."""
    found = report["copies"]["test"]
    if found and found["flagged"]:
        yield (
            f"{_images(found['flagged'])} like test images ({_names(found)}): train without such "
            "images before you believe any test accuracy. Where the seed itself looks like the "
            "test image, take it out of the training set."
        )


def one_class_only(report: Report) -> Iterator[str]:
    """A classifier that takes every image for one class has learnt nothing, whatever it saw."""
    for entry in report["accuracy"]:
        if entry.get("only_classes"):
            yield (
                f"{entry['name']} takes every image for {entry['only_classes'][0]}: train it "
                "longer (`--config.train.num_steps`) or with another learning rate "
                "(`--config.train.learning_rate`) before you compare it with others."
            )


def too_few_for_fid(report: Report) -> Iterator[str]:
    """A covariance of d features has full rank from d + 1 images; below, FID is mostly bias.

    KID is unbiased, and CMMD as good as (Bińkowski et al. 2018; Jayasumana et al. 2024).
    """
    features = report["extractor"]["num_features"]
    fewest = min(report["sets"][role]["images"] for role in ("real", "synthetic"))
    if fewest <= features and is_number(_value(report, "fid")):
        yield (
            f"Rely on KID and CMMD rather than FID: {fewest:,} images are too few for a covariance "
            f"of {features:,} features. Compare FIDs only between reports on as many images."
        )


def fidelity_and_variety(report: Report) -> Iterator[str]:
    """Noise and guidance trade fidelity for variety: both directions, and when neither will do.

    Precision falls when synthetic images leave the real ones' region, recall when they cover only a
    part of it; the diversity ratio falls when the variants of a seed are alike, and copies of
    training images teach nothing new (one in a hundred does no harm). Both more noise and more
    guidance give more variety and more images that left their class (README). If both fidelity and
    variety are low, no noise scale mends it. Of images that were made otherwise nothing is known
    that could be turned.
    """
    if "method" not in report["settings"]:
        return
    variety = "; ".join(_little_variety(report))
    precision = "precision is " + _beside_baseline(report, "precision")
    strays = _is_low(report, "precision")
    if strays and variety:
        yield (
            f"No noise scale alone will do: {precision}, so images leave their set, and yet they "
            f"vary little ({variety}). Use a checkpoint nearer to your images "
            "(`--config.model.path`) or prompts that say more about them "
            "(`--config.prompt.template`, `--config.prompt.file`), and let "
            "`--config.train.method=amst` sort out wrong labels."
        )
    elif strays:
        yield (
            f"Many synthetic images look like no real one ({precision}): {less_noise(report)}; "
            "or keep the variety and let `--config.train.method=amst` decide which images to trust."
        )
    elif variety:
        yield f"The synthetic images vary little ({variety}): {more_noise(report)}."


def _little_variety(report: Report) -> Iterator[str]:
    """What speaks for it."""
    found, diversity = report["copies"]["training"], report["diversity"]
    if found["flagged"] > _MANY_COPIES * found["compared"]:
        share = percent(found["flagged"] / found["compared"])
        yield f"{share} are nearly copies of training images"
    if diversity and diversity["ratio"] < _LOW_WITHOUT_BASELINE:
        yield (
            f"the variants of a seed lie {significant(diversity['ratio'])} times as far apart as "
            "real images of a class"
        )
    if _is_low(report, "recall"):
        yield "recall is " + _beside_baseline(report, "recall")


def far_classes(report: Report) -> Iterator[str]:
    """A class far from its real images often has a name that means something else to the model."""
    known = [row for row in report["per_class"] if is_number(row["fid"])]
    if len(known) < 3:
        return
    values = sorted(row["fid"] for row in known)
    far = [row for row in known if row["fid"] > _FAR * values[len(values) // 2]]
    if far:
        far.sort(key=lambda row: -row["fid"])
        yield (
            f"Look at the samples of {_listed([row['name'] for row in far], len(far))}: their FID "
            "is more than twice the median of the classes. A prompt that says more than the name "
            "may help: `--config.prompt.file`."
        )


def no_accuracy(report: Report) -> Iterator[str]:
    """Whether a classifier gains is the question; image metrics only hint at the answer."""
    accuracy = report["accuracy"]
    if not accuracy:
        yield (
            "Train on the real images (`--config.data.train_on=real`) and on both "
            "(`--config.data.train_on=mixed`), and name both directories, "
            "`--config.evaluate.classifiers=REAL,MIXED`: accuracy decides whether the synthetic "
            "images help."
        )
    elif accuracy[0]["trained_on"] != "real":
        yield (
            "Train on the real images alone (`--config.data.train_on=real`), and name that "
            "directory first in `--config.evaluate.classifiers`: others are compared with the "
            "first."
        )
    elif len(accuracy) == 1:
        yield (
            "Train with the synthetic images too (`--config.data.train_on=mixed`, "
            "`--config.train.method=amst`), and name those directories after the first in "
            "`--config.evaluate.classifiers`."
        )


def no_test_set(report: Report) -> Iterator[str]:
    """Settings are chosen on validation images, so the accuracy on them is no result."""
    if not report["sets"]["test"]:
        yield (
            "Name a test set, `--config.test.split` or `--config.test.path`: without one, neither "
            "leaks of test images nor an accuracy that no setting was chosen on can be reported."
        )


def accuracy_gain(report: Report) -> Iterator[str]:
    """What to do about a loss, a difference within chance, and a gain.

    Labels of synthetic images are wrong more often than real ones, so a loss on mixed data calls
    for AMST. A difference below two standard errors may be chance. A gain grew with the expansion
    in the paper's experiments, which went to 10 and more.
    """
    found = gain.best_gain(report["accuracy"])
    if found is None or found.baseline["trained_on"] != "real":
        return
    if found.baseline.get("only_classes") or found.best.get("only_classes"):
        return  # one of them has learnt nothing: `one_class_only`
    has_amst = any(entry["method"].startswith("amst") for entry in report["accuracy"])
    if found.difference <= 0 and not has_amst:
        yield (
            f"{found.best['name']} is {_apart(found)} {found.baseline['name']}: the labels of the "
            "synthetic images may be wrong too often. Let `--config.train.method=amst` decide "
            "which to trust."
        )
    elif found.difference <= 0:
        yield (
            f"{found.best['name']} is {_apart(found)} {found.baseline['name']}: what synthetic "
            "images it trusts teach it nothing, because they are too near their seeds or their "
            "labels are still wrong. See what is said of variety and fidelity here."
        )
    elif found.error is None:
        yield (
            f"Train {found.baseline['name']} and {found.best['name']} three times "
            "(`--config.train.num_runs=3`): whether a difference of "
            f"{points(found.difference)} points is chance cannot be said from single runs."
        )
    elif found.difference < 2 * found.error:
        yield (
            f"A difference of {points(found.difference)} points with a standard error of "
            f"{points(found.error).lstrip('+')} may be chance: train more runs "
            "(`--config.train.num_runs`)."
        )
    else:
        yield from _larger_expansion(report)


def _larger_expansion(report: Report) -> Iterator[str]:
    real, synthetic = (report["sets"][role]["images"] for role in ("real", "synthetic"))
    if real and synthetic < _PAPERS_EXPANSION * real:
        yield (
            f"The synthetic images help. There are {synthetic / real:.2g} for each real one; try "
            f"{_PAPERS_EXPANSION}: `--config.synthesis.num_variants={_PAPERS_EXPANSION}`."
        )


def few_labels_accepted(report: Report) -> Iterator[str]:
    """What is rejected cost as much to make as what is accepted.

    The threshold is what to turn: what noise does is judged by variety and fidelity.
    """
    audit = report["audit"]
    if audit and audit["images"] and audit["accepted"] < _FEW_ACCEPTED * audit["images"]:
        share = percent(audit["accepted"] / audit["images"]) if audit["accepted"] else "None"
        yield (
            f"{'Only ' if audit['accepted'] else ''}{share} of the synthetic images "
            f"{'were' if audit['accepted'] else 'was'} accepted: train stage 1 longer "
            "(`--config.amst.stage1_steps`), or accept more with a threshold above "
            f"{audit['threshold']:g} (`--config.amst.threshold`)."
        )


# The most urgent first: what makes other numbers wrong, what is missing, what to turn.
_RULES: Sequence[Callable[[Report], Iterator[str]]] = (
    leaked_test_images,
    one_class_only,
    no_accuracy,
    accuracy_gain,
    fidelity_and_variety,
    few_labels_accepted,
    far_classes,
    too_few_for_fid,
    no_test_set,
)


def _metric(report: Report, name: str) -> Mapping[str, Any]:
    return next((metric for metric in report["metrics"] if metric["name"] == name), {})


def _value(report: Report, name: str) -> float | None:
    return _metric(report, name).get("value")


def _is_low(report: Report, name: str) -> bool:
    value, baseline = _value(report, name), _metric(report, name).get("baseline")
    if not is_number(value):
        return False
    return value < (_LOW * baseline if is_number(baseline) else _LOW_WITHOUT_BASELINE)


def _beside_baseline(report: Report, name: str) -> str:
    value, baseline = _value(report, name), _metric(report, name).get("baseline")
    beside = f", {significant(baseline)} for other real images" if is_number(baseline) else ""
    return significant(value) + beside


def _apart(found: gain.Gain) -> str:
    if found.difference == 0:
        return "no better than"
    return f"{points(-found.difference).lstrip('+')} points below"


def _names(found: Mapping[str, Any]) -> str:
    """Of the flagged synthetic images; a few, and where all are."""
    names = [pair["synthetic"] for pair in found["pairs"] if pair["flagged"]]
    return _listed(names, found["flagged"], rest_in=" in copies.jsonl")


def _listed(names: Sequence[str], number: int, *, rest_in: str = "") -> str:
    shown = names[:_MOST_NAMED]
    more = f" and {number - len(shown):,} more{rest_in}" if number > len(shown) else ""
    return ", ".join(shown) + more


def _images(number: int) -> str:
    return f"{number:,} synthetic image{'s look' if number > 1 else ' looks'}"
