"""Reports as an evaluation hands them to the page: of the packaged sample, and of many classes."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from dreamda_jax.data.sets.verdicts import Verdicts
from dreamda_jax.data.sources.sample_source import SampleSource
from dreamda_jax.evaluate.page.page import Gallery, GalleryRow
from dreamda_jax.train.audit_sheet import audit_sheet
from dreamda_jax.train.label_audit import audit

NUM_VARIANTS = 6


def encoded(pixels, image_format="PNG"):
    """Uint8 [h, w, 3] as a file's bytes."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, image_format)
    return data.getvalue()


def varied(pixels, variant):
    """Stands in for a synthetic image: shifted, turned and noisy."""
    draw = np.random.default_rng(variant)
    turned = Image.fromarray(pixels).rotate(draw.uniform(-12, 12))
    moved = np.roll(np.asarray(turned), draw.integers(-2, 3, 2), (0, 1))
    return np.clip(moved + draw.normal(0, 14, pixels.shape), 0, 255).astype(np.uint8)


def sample_by_class():
    """The packaged training images, a list for each class."""
    source = SampleSource(split="train")
    of_class = [[] for _ in source.label_names]
    for example in map(source.__getitem__, range(len(source))):
        of_class[example.label].append(example)
    return of_class


def pictures(names, *, seeds_per_class=2, num_variants=NUM_VARIANTS, image_format="PNG"):
    """Images by key and a gallery for each name, of the sample's images."""
    of_class = sample_by_class()
    images, galleries = {}, []
    for label, name in enumerate(names):
        rows = []
        for example in of_class[label % len(of_class)][:seeds_per_class]:
            key = f"real/{label}/{example.index}"
            images[key] = encoded(example.content, image_format)
            keys = [
                f"synthetic/{label}/{example.index}/{variant}" for variant in range(num_variants)
            ]
            for variant, variant_key in enumerate(keys):
                images[variant_key] = encoded(varied(example.content, variant), image_format)
            rows.append(GalleryRow(example.name, key, keys))
        galleries.append(Gallery(name, rows))
    return images, galleries


def pair(galleries, label, *, flagged, mirrored=False):
    """A pair of the copies' section; images by key of the galleries."""
    row = galleries[label].rows[0]
    return {
        "synthetic": f"seed {row.seed_name}, variant {label}",
        "real": row.seed_name,
        "class": galleries[label].class_name,
        "feature_distance": 0.41 + label if flagged else 3.2 + label,
        "hash_distance": 2 if flagged else None,
        "mirrored": mirrored,
        "flagged": flagged,
        "why": ("mirrored hash" if mirrored else "features") if flagged else "",
        "synthetic_image": row.variant_images[label % len(row.variant_images)],
        "real_image": row.seed_image,
    }


def label_verdicts(num_classes, per_class=20):
    """Verdicts of which most are accepted, some relabelled to the next class."""
    draw = np.random.default_rng(0)
    n = num_classes * per_class
    seed = np.repeat(np.arange(num_classes), per_class).astype(np.int32)
    heads = np.repeat(seed[:, None], 4, axis=1)
    heads[draw.random(n) < 0.12] += 1
    heads[:, 3] += draw.random(n) < 0.2
    heads %= num_classes
    uncertainty = draw.gamma(1.0, 0.002, n).astype(np.float32)
    accepted = (heads == heads[:, :1]).all(axis=1) & (uncertainty < 0.005)
    return Verdicts(
        seed_id=np.arange(n),
        variant=np.zeros(n, np.int64),
        seed_label=seed,
        predictions=heads,
        uncertainty=uncertainty,
        accepted=accepted,
        pseudo_label=np.where(accepted, heads[:, 0], -1).astype(np.int32),
        probabilities=np.full((n, num_classes), 1 / num_classes, np.float32),
        decoded=np.ones(n, bool),
    )


def metric(name, label, value, low, high, better, baseline, note=""):
    return {
        "name": name, "label": label, "value": value, "low": low, "high": high, "better": better,
        "baseline": baseline, "note": note,
    }  # fmt: skip


METRICS = [
    metric(
        "fid",
        "FID",
        41.23,
        39.61,
        43.07,
        "lower",
        28.44,
        "Fréchet distance of two normal distributions. The fewer images there are, the higher it "
        "is, above all with fewer than the 128 features. Not comparable with FIDs of Inception.",
    ),
    metric(
        "kid",
        "KID",
        0.01234,
        0.00981,
        0.01502,
        "lower",
        -0.00021,
        "Cubic kernel; its mean does not depend on how many images.",
    ),
    metric("mmd", "MMD", 0.0821, 0.0774, 0.0866, "lower", 0.0312, "kernel width 12.4"),
    metric("cmmd", "CMMD", 1.204, 1.101, 1.322, "lower", 0.153),
    metric("clip_score", "CLIP score", 0.2634, 0.2611, 0.2658, "higher", 0.2702),
    metric(
        "precision",
        "Precision",
        0.913,
        0.886,
        0.937,
        "higher",
        0.951,
        "Share of images near one of the others; k = 5.",
    ),
    metric(
        "recall",
        "Recall",
        0.402,
        0.361,
        0.449,
        "higher",
        0.943,
        "Share of images near one of the others; k = 5.",
    ),
    metric(
        "density",
        "Density",
        1.08,
        0.99,
        1.17,
        "higher",
        1.01,
        "Share of images near one of the others; k = 5.",
    ),
    metric("coverage", "Coverage", 0.774, None, None, "higher", 0.962),
    metric("vendi", "Vendi score", None, None, None, "", None, "not asked for"),
]


def accuracies(names, *, seed=0):
    """Of four classifiers; the first saw real images alone."""
    draw = np.random.default_rng(seed)
    base = np.clip(draw.normal(0.74, 0.12, len(names)), 0.2, 0.98)
    entries = []
    for name, method, shift, num_runs in [
        ("real", "supervised", 0.0, 3),
        ("mixed", "supervised", -0.011, 3),
        ("amst", "amst", 0.027, 3),
        ("synthetic", "supervised", -0.063, 1),
    ]:
        of_class = np.clip(base + shift + draw.normal(0, 0.03, len(names)), 0, 1)
        runs = [0.732 + shift + offset for offset in (-0.006, 0.001, 0.005)[:num_runs]]
        entries.append(
            {
                "name": f"fashion_{name}",
                "directory": f"runs/fashion_{name}",
                "method": method,
                "trained_on": "mixed" if method == "amst" else name,
                "mean": float(np.mean(runs)),
                "std": float(np.std(runs, ddof=1)) if num_runs > 1 else None,
                "runs": runs,
                "measured_on": "test",
                "per_class": [
                    {"name": label, "accuracy": float(value)}
                    for label, value in zip(names, of_class, strict=True)
                ],
            }
        )
    return entries


def make_report(names, galleries):
    """Every section filled in."""
    draw = np.random.default_rng(1)
    return {
        "format": 1,
        "title": "fashion20, four variants per image",
        "created": "2026-03-02T14:05:11+00:00",
        "versions": {"dreamda_jax": "0.1.0", "jax": "0.10.2", "python": "3.11.9"},
        "settings": {
            "method": {"name": "dreamda", "noise_scale": 3.0, "guidance_scale": 3.0},
            "synthesis": {"num_variants": 4, "max_seeds": 0, "seed": 0},
            "prompt": {"template": "a photo of a {class}", "file": None},
            "evaluate": {"classifiers": "runs/fashion_real,runs/fashion_amst", "clip": True},
        },
        "sets": {
            "real": {"name": "fashion20 train", "images": 200, "classes": 10, "left_out": 0},
            "synthetic": {"name": "runs/fashion", "images": 800, "classes": 10, "left_out": 2},
            "test": {"name": "fashion20 test", "images": 5000, "classes": 10, "left_out": 0},
        },
        "extractor": {
            "name": "the packaged oracle",
            "description": "a classifier of 13,000 real images, before its last layer.",
            "num_features": 128,
        },
        "metrics": METRICS,
        "per_class": [
            {
                "name": name,
                "real": 20,
                "synthetic": 80,
                "fid": float(draw.gamma(8, 9)),
                "diversity": float(draw.uniform(0.3, 0.9)),
            }
            for name in names
        ],
        "copies": {
            "training": {
                "compared": 800,
                "flagged": 12,
                "rule": "Flagged: features at most 0.2 times as far apart as real images usually "
                "are, or a matching perceptual hash and thumbnail; mirrored images included.",
                "pairs": [
                    pair(galleries, 0, flagged=True),
                    pair(galleries, 3, flagged=True, mirrored=True),
                    pair(galleries, 5, flagged=True),
                    pair(galleries, 7, flagged=False),
                    pair(galleries, 8, flagged=False),
                ],
            },
            "test": {
                "compared": 800,
                "flagged": 1,
                "rule": "The same rule, against all test images.",
                "pairs": [pair(galleries, 1, flagged=True), pair(galleries, 2, flagged=False)],
            },
        },
        "diversity": {"within_seed": 4.21, "within_class_real": 9.87, "ratio": 0.4266},
        "accuracy": accuracies(names),
        "audit": None,
        "cost": {
            "images": 800,
            "tflop_per_image": 0.00774,
            "tflop": 6.19,
            "seconds": 214.3,
            "images_per_second": 3.73,
            "devices": "2 × cpu",
        },
        "advice": ["Set `--config.method.noise_scale=4.5`: the variants differ little."],
        "warnings": ["2 synthetic images cannot be decoded and were left out."],
    }


def fashion(directory: Path):
    """(report, images, galleries) of the ten classes of the sample, with an audit's picture."""
    names = SampleSource(split="train").label_names
    images, galleries = pictures(names)
    report = make_report(names, galleries)
    verdicts = label_verdicts(len(names))
    report["audit"] = audit(
        verdicts,
        label_names=names,
        threshold=0.005,
        oracle=np.where(np.arange(len(verdicts.seed_label)) % 9, verdicts.predictions[:, 0], -1),
        labellings={"seed": verdicts.seed_label, "amst": verdicts.pseudo_label},
    )
    of_class = sample_by_class()
    audit_sheet(
        verdicts,
        label_names=names,
        image_of=lambda place: varied(of_class[place // 20][place % 20].content, place),
        path=directory / "audit.png",
    )
    images["audit"] = (directory / "audit.png").read_bytes()
    report["audit"]["image"] = "audit"
    return report, images, galleries


def many_classes(num_classes=200):
    """The same of 200 classes, some with long names, from a source of 200 classes."""
    kinds = ["Laysan albatross", "Groove-billed ani", "Brewer's blackbird", "Chuck-will's-widow"]
    names = [f"{kinds[n % 4]} {n:03}" for n in range(num_classes)]
    names[1] = "Black-throated_blue_warbler_of_the_north_eastern_coast_in_its_first_winter"
    images, galleries = pictures(names, seeds_per_class=1, num_variants=4, image_format="WEBP")
    report = make_report(names, galleries)
    report["title"] = "Birds, ten variants per image"
    for found in report["sets"].values():
        found["classes"] = num_classes
    verdicts = label_verdicts(num_classes, per_class=10)
    report["audit"] = audit(
        verdicts, label_names=names, threshold=0.005, oracle=None, labellings={}
    )
    return report, images, galleries
