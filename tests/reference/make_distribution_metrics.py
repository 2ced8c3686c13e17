"""Make distribution_metrics.npz: FID, KID, MMD, CMMD, precision and recall by others' code.

Needs an environment apart from the project's: Python 3.11, torch 2.13.0 (CPU), torch-fidelity
0.4.0, pytorch-fid 0.3.0, prdc 0.2, scipy 1.17.1, numpy 2.4.6; and `cmmd/distance.py` of
github.com/google-research/google-research, commit 4c42994.

    TORCH/bin/python tests/reference/make_distribution_metrics.py --cmmd cmmd/distance.py

Features are not stored: `features(case)` draws them, here and in the tests, which import this file
without torch. README.md here lists every array.
"""

import argparse
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np

CASES = ("few", "many", "dead")
WIDTH, CLASSES = 64, 3
SUBSETS, SUBSET_SIZE, SEED = 10, 25, 7
KS = (3, 5)
SIGMA = 4.0
_SIZES = {"few": (40, 30), "many": (300, 200), "dead": (120, 90)}


def features(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Real and synthetic features, float32, not negative as after a ReLU.

    "few": fewer images than the 64 features. "many": more. "dead": more, but five features are
    always 0 and two are equal, so that covariances are singular; some synthetic images are equal to
    each other.
    """
    rng = np.random.default_rng(CASES.index(case))
    scale = np.arange(1, WIDTH + 1) ** -0.5
    mix = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    real, synthetic = (rng.standard_normal((count, WIDTH)) * scale @ mix for count in _SIZES[case])
    synthetic = 0.9 * synthetic + 0.15 * rng.standard_normal(WIDTH)
    sets = [np.maximum(values + 0.4, 0).astype(np.float32) for values in (real, synthetic)]
    if case == "dead":
        sets[1][-10:] = sets[1][:10]
        for values in sets:
            values[:, :5] = 0
            values[:, 6] = values[:, 7]
    return sets[0], sets[1]


def labels(case: str) -> tuple[np.ndarray, np.ndarray]:
    """A class for every image, int64; one of 8 belongs to none (-1)."""
    rng = np.random.default_rng(10)
    real, synthetic = (rng.integers(CLASSES, size=count) for count in _SIZES[case])
    real[::8] = synthetic[::8] = -1
    return real, synthetic


def unit(values: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32, as CLIP's embeddings are."""
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def cmmd_of(file: Path):
    """The function of google-research, run by numpy in float64 in the place of JAX."""
    jax = types.ModuleType("jax")
    jax.jit, jax.numpy = lambda function: function, np
    sys.modules.update({"jax": jax, "jax.numpy": np})
    spec = importlib.util.spec_from_file_location("cmmd_distance", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mmd


def torch_fidelity_fid(real: np.ndarray, synthetic: np.ndarray) -> float:
    import torch
    from torch_fidelity import metric_fid

    statistics = [
        metric_fid.fid_features_to_statistics(torch.from_numpy(values.astype(np.float64)))
        for values in (real, synthetic)
    ]
    return metric_fid.fid_statistics_to_metric(*statistics, verbose=False)[
        "frechet_inception_distance"
    ]


def pytorch_fid(real: np.ndarray, synthetic: np.ndarray) -> float:
    from pytorch_fid.fid_score import calculate_frechet_distance

    statistics = []
    for values in (real, synthetic):
        values = values.astype(np.float64)
        statistics += [values.mean(axis=0), np.cov(values, rowvar=False)]
    return calculate_frechet_distance(*statistics)


def kernel_distance(real: np.ndarray, synthetic: np.ndarray, **options) -> np.ndarray:
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    tensors = [torch.from_numpy(values.astype(np.float64)) for values in (real, synthetic)]
    found = kid_features_to_metric(*tensors, verbose=False, rng_seed=SEED, **options)
    return np.array([found[f"kernel_inception_distance_{name}"] for name in ("mean", "std")])


def of_case(case: str, cmmd) -> dict[str, np.ndarray]:
    from prdc import compute_prdc

    real, synthetic = features(case)
    common = min(len(real), len(synthetic))
    arrays = {
        "sum": np.sum([real.sum(dtype=np.float64), synthetic.sum(dtype=np.float64)]),
        "fid_torch_fidelity": torch_fidelity_fid(real, synthetic),
        "fid_pytorch_fid": pytorch_fid(real, synthetic),
        "kid": kernel_distance(real, synthetic, kid_subsets=SUBSETS, kid_subset_size=SUBSET_SIZE),
        # One subset of all images is the MMD of both sets, the order being of no influence.
        "mmd": kernel_distance(
            real[:common],
            synthetic[:common],
            kid_subsets=1,
            kid_subset_size=common,
            kid_kernel="rbf",
            kid_kernel_rbf_sigma=SIGMA,
        )[0],
        "cmmd": cmmd(*(unit(values).astype(np.float64) for values in (real, synthetic))),
    }
    for k in KS:
        found = compute_prdc(real.astype(np.float64), synthetic.astype(np.float64), nearest_k=k)
        names = ("precision", "recall", "density", "coverage")
        arrays[f"prdc_{k}"] = np.array([found[name] for name in names])
    return {f"{case}/{name}": value for name, value in arrays.items()}


def by_class() -> np.ndarray:
    (real, synthetic), (real_labels, synthetic_labels) = features("many"), labels("many")
    return np.array(
        [
            torch_fidelity_fid(real[real_labels == label], synthetic[synthetic_labels == label])
            for label in range(CLASSES)
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cmmd", type=Path, required=True)
    cmmd = cmmd_of(parser.parse_args().cmmd)
    arrays = {"fid_by_class": by_class()}
    for case in CASES:
        arrays |= of_case(case, cmmd)
    np.savez_compressed(Path(__file__).parent / "distribution_metrics.npz", **arrays)


if __name__ == "__main__":
    main()
