"""Make `usb.npz`: SoftMatch, FixMatch and the EMA of weights, computed by USB's own code.

Needs an environment apart from the project's (torch 2.13.0) and a checkout of
https://github.com/microsoft/Semi-supervised-learning, made with commit
1ef4cbebcc0b368158315aeb425053858cf6c845:

    TORCHENV/bin/python tests/reference/make_usb.py CHECKOUT

`train_step` runs as published, hooks included; only packages that play no part in it are stubbed.
Its model is the identity, so that the "images" are logits. Sequences: "softmatch", as published;
"quick", averages with decay 0.6 and soft targets, so that the weights spread; "sharp", as "quick"
with n = 3 and hard targets; "fixmatch"; "ema", a linear layer with BatchNorm, rate 0.5.
"""

import argparse
import contextlib
import sys
import types
from collections import OrderedDict
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch

STEPS, LABELLED, UNLABELLED, CLASSES = 6, 4, 28, 10

# Imported by the modules around train_step, used by nothing that runs here.
STUBS = (
    "aim",
    "ruamel",
    "ruamel.yaml",
    "semilearn.datasets",
    "semilearn.nets",
    "semilearn.nets.utils",
    "sklearn",
    "sklearn.metrics",
    "torch.utils.tensorboard",
    "wandb",
)
# Their __init__ imports every algorithm and network; here their modules are imported one by one.
BARE_PACKAGES = ("semilearn", "semilearn.core", "semilearn.algorithms")


def import_usb(checkout: Path) -> None:
    """Make USB's modules importable one by one."""
    sys.modules.update({name: MagicMock() for name in STUBS})
    for name in BARE_PACKAGES:
        package = types.ModuleType(name)
        package.__path__ = [str(checkout.joinpath(*name.split(".")))]
        sys.modules[name] = package


def make_algorithm(base: type, **arguments):
    """An instance of USB's algorithm whose model is the identity, and what its hooks returned."""
    from semilearn.core.criterions import CELoss, ConsistencyLoss

    returned = {}

    class Observed(base):
        def call_hook(self, fn_name, hook_name=None, *args, **kwargs):
            result = super().call_hook(fn_name, hook_name, *args, **kwargs)
            returned[fn_name] = result
            return result

    # Not through __init__, which loads data and asks for a GPU.
    algorithm = object.__new__(Observed)
    algorithm.args = argparse.Namespace(use_wandb=False, use_aim=False, **arguments)
    algorithm.num_classes = CLASSES
    algorithm.lambda_u, algorithm.use_cat, algorithm.distributed = 1.0, True, False
    algorithm.amp_cm = contextlib.nullcontext
    algorithm.ce_loss, algorithm.consistency_loss = CELoss(), ConsistencyLoss()
    algorithm.model = lambda logits: {"logits": logits, "feat": logits}
    algorithm._hooks, algorithm.hooks_dict = [], OrderedDict()
    algorithm.set_hooks()
    algorithm.init(**arguments)
    return algorithm, returned


def run_steps(algorithm, returned, inputs) -> dict[str, np.ndarray]:
    """Every quantity of every step, stacked."""
    rows: dict[str, list] = {}
    for step in range(STEPS):
        labelled, weak, strong = (
            torch.from_numpy(inputs[name][step].copy()).requires_grad_()
            for name in ("labelled", "weak", "strong")
        )
        labels = torch.from_numpy(inputs["labels"][step])
        out, log = algorithm.train_step(labelled, labels, weak, strong)
        out["loss"].backward()
        values = {
            "weights": returned["masking"],
            "targets": returned["gen_ulb_targets"],
            "supervised_loss": log["train/sup_loss"],
            "unsupervised_loss": log["train/unsup_loss"],
            "weak_gradient": weak.grad,
            "strong_gradient": strong.grad,
        }
        if "dist_align" in returned:
            masking = algorithm.hooks_dict["MaskingHook"]
            values |= {
                "aligned": returned["dist_align"],
                "marginal": algorithm.hooks_dict["DistAlignHook"].p_model,
                "mean": masking.prob_max_mu_t,
                "variance": masking.prob_max_var_t,
            }
        for name, value in values.items():
            rows.setdefault(name, []).append(torch.as_tensor(value).numpy().copy())
    return {name: np.stack(values) for name, values in rows.items()}


def make_inputs(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Logits of weak views from unsure to sure, of strong views near them; classes not balanced."""
    sharpness = random.uniform(0.3, 6.0, (STEPS, UNLABELLED, 1))
    favoured = np.linspace(-0.5, 0.5, CLASSES)
    weak = sharpness * (random.standard_normal((STEPS, UNLABELLED, CLASSES)) + favoured)
    strong = weak + random.standard_normal(weak.shape)
    return {
        "labelled": random.standard_normal((STEPS, LABELLED, CLASSES)).astype(np.float32),
        "labels": random.integers(0, CLASSES, (STEPS, LABELLED)),
        "weak": weak.astype(np.float32),
        "strong": strong.astype(np.float32),
    }


def ema_sequence(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Parameters, their average and BatchNorm's mean after each step of plain SGD."""
    from semilearn.core.hooks.ema import EMAHook

    def network():
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))

    def flat(values: dict) -> np.ndarray:
        names = ("0.weight", "0.bias", "1.weight", "1.bias")
        return np.concatenate([values[name].detach().numpy().ravel() for name in names])

    model, ema_model = network(), network()
    ema_model.load_state_dict(model.state_dict())
    algorithm = types.SimpleNamespace(model=model, ema_model=ema_model, ema_m=0.9, resume=False)
    hook = EMAHook()
    hook.before_run(algorithm)
    rows = {"ema_params": [flat(model.state_dict())]} | {
        name: [] for name in ("ema_gradients", "ema_average", "ema_statistics", "ema_live")
    }
    for _ in range(STEPS):
        model.zero_grad()
        batch = torch.from_numpy(random.standard_normal((8, 3)).astype(np.float32))
        (model(batch) ** 3).sum(1).mean().backward()
        for parameter in model.parameters():
            parameter.data -= 0.5 * parameter.grad
        hook.after_train_step(algorithm)
        rows["ema_params"].append(flat(model.state_dict()))
        rows["ema_gradients"].append(flat({n: p.grad for n, p in model.named_parameters()}))
        rows["ema_average"].append(flat(ema_model.state_dict()))
        rows["ema_statistics"].append(ema_model[1].running_mean.numpy().copy())
        rows["ema_live"].append(model[1].running_mean.numpy().copy())
    return {name: np.stack(values) for name, values in rows.items()}


def main() -> None:
    """Write the arrays beside this script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    import_usb(parser.parse_args().checkout)
    from semilearn.algorithms.fixmatch.fixmatch import FixMatch
    from semilearn.algorithms.softmatch.softmatch import SoftMatch

    torch.manual_seed(0)
    random = np.random.default_rng(0)
    arrays = make_inputs(random)
    published = {"T": 0.5, "dist_align": True, "dist_uniform": True, "per_class": False}
    sequences = {
        "softmatch": (SoftMatch, published | {"hard_label": True, "ema_p": 0.999, "n_sigma": 2}),
        "quick": (SoftMatch, published | {"hard_label": False, "ema_p": 0.6, "n_sigma": 2}),
        "sharp": (SoftMatch, published | {"hard_label": True, "ema_p": 0.6, "n_sigma": 3}),
        "fixmatch": (FixMatch, {"T": 0.5, "hard_label": True, "p_cutoff": 0.95}),
    }
    found = {}
    for name, (base, arguments) in sequences.items():
        found[name] = run_steps(*make_algorithm(base, **arguments), arrays)
    for name, rows in found.items():
        arrays |= {f"{name}_{quantity}": values for quantity, values in rows.items()}
    arrays |= ema_sequence(random)
    np.savez_compressed(Path(__file__).with_name("usb.npz"), **arrays)


if __name__ == "__main__":
    main()
