"""Advice on planted numbers: each rule speaks when it should, names fields, and else is silent."""

import copy
import inspect
import re

import pytest

from configs.defaults import get_config
from dreamda_jax.evaluate.advice import advice


def metric(name, value, baseline=None):
    return {"name": name, "value": value, "baseline": baseline}


def classifier(name, mean, *, method="supervised", trained_on="mixed", num_runs=3, std=0.004):
    return {
        "name": name,
        "method": method,
        "trained_on": trained_on,
        "mean": mean,
        "std": std if num_runs > 1 else None,
        "runs": [mean] * num_runs,
        "measured_on": "test",
    }


REAL = classifier("real", 0.73, trained_on="real")
NONE_FOUND = {"compared": 2000, "flagged": 0, "pairs": []}
CONTENT = {  # of which nothing is to be said
    "settings": {"method": {"noise_scale": 3.0, "guidance_scale": 6.0}},
    "sets": {"real": {"images": 200}, "synthetic": {"images": 2000}, "test": {"images": 5000}},
    "extractor": {"num_features": 128},
    "metrics": [
        metric("fid", 40.0, 28.0), metric("precision", 0.9, 0.95), metric("recall", 0.8, 0.94)
    ],
    "per_class": [{"name": str(n), "fid": 50.0 + n} for n in range(10)],
    "copies": {"training": NONE_FOUND, "test": NONE_FOUND},
    "diversity": {"ratio": 0.7},
    "accuracy": [REAL, classifier("mixed", 0.76)],
    "audit": None,
}  # fmt: skip


def changed(**parts):
    return copy.deepcopy(CONTENT) | parts


def only(report):
    (sentence,) = advice(report)
    return sentence


def with_metrics(**values):
    baselines = {"fid": 28.0, "precision": 0.95, "recall": 0.94}
    values = {"fid": 40.0, "precision": 0.9, "recall": 0.8} | values
    return [metric(name, value, baselines[name]) for name, value in values.items()]


def test_nothing_to_say():
    assert advice(CONTENT) == []


def test_a_classifier_that_predicts_one_class_only():
    flat = {**classifier("flat", 0.1), "only_classes": ["bag"]}
    sentence = only(changed(accuracy=[REAL, flat]))
    assert sentence.startswith("flat takes every image for bag: train it longer")
    assert "`--config.train.num_steps`" in sentence
    # Nor is anything said of a gain over one that has learnt nothing.
    bad = {**REAL, "only_classes": ["bag", "bag", "bag"]}
    assert only(changed(accuracy=[bad, classifier("mixed", 0.76)])).startswith("real takes every")


def test_leaks():
    pairs = [{"synthetic": f"image {n}", "flagged": n != 1} for n in range(8)]
    found = {"compared": 2000, "flagged": 40, "pairs": pairs}
    sentence = only(changed(copies={"training": NONE_FOUND, "test": found}))
    assert sentence.startswith(
        "40 synthetic images look like test images (image 0, image 2, image 3, image 4, image 5 "
        "and 35 more in copies.jsonl): train without such images"
    )
    one = {"compared": 2000, "flagged": 1, "pairs": pairs[:2]}
    sentence = only(changed(copies={"training": NONE_FOUND, "test": one}))
    assert sentence.startswith("1 synthetic image looks like test images (image 0): train")


def test_copies_of_training_images():
    few = {"compared": 2000, "flagged": 20, "pairs": []}
    assert advice(changed(copies={"training": few, "test": None})) == []
    many = {"compared": 2000, "flagged": 90, "pairs": []}
    sentence = only(changed(copies={"training": many, "test": None}))
    assert sentence.startswith(
        "The synthetic images vary little (4.5% are nearly copies of training images): try more"
    )
    assert "`--config.method.noise_scale=4.5` instead of 3" in sentence
    # Where the value is not known, the field alone; of images made otherwise nothing.
    unknown = changed(copies={"training": many, "test": None}, settings={"method": {}})
    assert only(unknown).endswith("try more noise, `--config.method.noise_scale`.")
    assert advice(changed(copies={"training": many, "test": None}, settings={})) == []


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"metrics": with_metrics(recall=0.6)}, "recall is 0.600, 0.940 for other real images"),
        ({"diversity": {"ratio": 0.42}}, "0.420 times as far apart as real images"),
    ],
)
def test_little_variety(parts, reason):
    sentence = only(changed(**parts))
    assert sentence.startswith("The synthetic images vary little (")
    assert reason in sentence
    assert "more noise, `--config.method.noise_scale=4.5`" in sentence


def test_low_precision():
    sentence = only(changed(metrics=with_metrics(precision=0.7)))
    assert "precision is 0.700, 0.950 for other real images" in sentence
    assert "less noise, `--config.method.noise_scale=2` instead of 3" in sentence
    assert "less guidance, `--config.method.guidance_scale=4` instead of 6" in sentence
    assert "`--config.train.method=amst`" in sentence


def test_low_precision_without_a_baseline():
    assert advice(changed(metrics=[metric("precision", 0.6), metric("recall", None)])) == []
    assert "precision is 0.400)" in only(changed(metrics=[metric("precision", 0.4)]))


def test_low_precision_and_little_variety():
    sentence = only(changed(metrics=with_metrics(precision=0.7, recall=0.5)))
    assert "No noise scale alone will do" in sentence
    for field in ("model.path", "prompt.template", "prompt.file", "train.method=amst"):
        assert f"`--config.{field}`" in sentence
    assert "noise_scale" not in sentence


def test_too_few_images_for_fid():
    sentence = only(changed(extractor={"num_features": 200}))
    assert sentence.startswith("Rely on KID and CMMD rather than FID: 200 images are too few")
    assert advice(changed(extractor={"num_features": 199})) == []
    without_fid = changed(extractor={"num_features": 2048}, metrics=with_metrics(fid=None))
    assert advice(without_fid) == []


def test_far_classes():
    rows = [{"name": "bag", "fid": 130.0}, {"name": "coat", "fid": None}]
    sentence = only(changed(per_class=[*CONTENT["per_class"], *rows]))
    assert sentence.startswith("Look at the samples of bag: ")
    assert "`--config.prompt.file`" in sentence
    assert advice(changed(per_class=[{"name": "a", "fid": 1.0}, {"name": "b", "fid": 9.0}])) == []


def test_no_accuracy():
    sentence = only(changed(accuracy=[]))
    for field in ("data.train_on=real", "data.train_on=mixed", "evaluate.classifiers=REAL,MIXED"):
        assert f"`--config.{field}`" in sentence


def test_accuracy_to_compare_with():
    assert "name that directory first" in only(changed(accuracy=[classifier("mixed", 0.76)]))
    assert "after the first" in only(changed(accuracy=[REAL]))


def test_worse_than_real():
    sentence = only(changed(accuracy=[REAL, classifier("mixed", 0.70)]))
    assert sentence.startswith("mixed is 3.0 points below real: ")
    assert "`--config.train.method=amst`" in sentence
    amst = classifier("amst", 0.72, method="amst")
    sentence = only(changed(accuracy=[REAL, classifier("mixed", 0.70), amst]))
    assert sentence.startswith("amst is 1.0 points below real: ")
    assert "too near their seeds or their labels are still wrong" in sentence


def test_gain_that_may_be_chance():
    sentence = only(changed(accuracy=[REAL, classifier("mixed", 0.735)]))
    assert "+0.5 points with a standard error of 0.3 may be chance" in sentence
    single = [REAL, classifier("mixed", 0.76, num_runs=1)]
    assert "`--config.train.num_runs=3`" in only(changed(accuracy=single))


def test_gain_with_a_small_expansion():
    sets = CONTENT["sets"] | {"synthetic": {"images": 800}}
    sentence = only(changed(sets=sets))
    assert "There are 4 for each real one" in sentence
    assert "`--config.synthesis.num_variants=10`" in sentence


def test_no_test_set():
    sets = CONTENT["sets"] | {"test": None}
    copies = {"training": NONE_FOUND, "test": None}
    assert only(changed(sets=sets, copies=copies)).startswith("Name a test set, `--config.test.")


def test_few_labels_accepted():
    audit = {"images": 2000, "accepted": 900, "threshold": 0.003}
    sentence = only(changed(audit=audit))
    assert sentence.startswith("Only 45.0% of the synthetic images were accepted: train stage 1")
    # Noise has one adviser: what it says of variety cannot be contradicted here.
    assert "noise" not in sentence
    none = only(changed(audit=audit | {"accepted": 0}))
    assert none.startswith("None of the synthetic images was accepted: ")
    assert "a threshold above 0.003 (`--config.amst.threshold`)" in sentence
    assert advice(changed(audit=audit | {"accepted": 1200})) == []


def test_the_most_urgent_comes_first():
    leaks = {"compared": 2000, "flagged": 1, "pairs": [{"synthetic": "x", "flagged": True}]}
    found = advice(
        changed(
            copies={"training": NONE_FOUND, "test": leaks},
            accuracy=[],
            diversity={"ratio": 0.2},
            extractor={"num_features": 2048},
        )
    )
    beginnings = ["1 synthetic image", "Train on", "The synthetic images vary", "Rely on KID"]
    assert len(found) == len(beginnings)
    assert all(said.startswith(start) for said, start in zip(found, beginnings, strict=True))


def test_every_field_named_exists():
    """Each `--config.…` that advice can name is a field of the default configuration."""
    rules = inspect.getsource(inspect.getmodule(advice))
    fields = set(re.findall(r"--config\.([a-z0-9_.]+)", rules))
    assert len(fields) > 8
    config = get_config()
    for field in fields:
        part = config
        for name in field.rstrip(".").split("."):
            assert name in part, field
            part = part[name]
