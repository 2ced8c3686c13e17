"""Which commands a study comes to."""

import dataclasses
import json
from pathlib import Path

import pytest

from configs import fashion
from dreamda_jax.errors import UserError
from dreamda_jax.reproduce import build, results, studies
from dreamda_jax.reproduce.cells import given_overrides, overridden_fields, stages, wanted_stages
from dreamda_jax.synthesis.dreamda import DreamDA
from tests.support.small_study import CONFIG, cell, setup


def study(name, *, file=CONFIG, method=None, changes=None, **flags):
    config = fashion.get_config().to_dict()
    if method:
        config["method"]["name"] = method
    for section, values in (changes or {}).items():
        config[section] |= values
    return build.study(
        config, build.Flags(study=name, file=file, **flags), resolve=lambda file: {"file": file}
    )


def names(found):
    return [cell.name for cell in found.chosen]


def test_overrides_are_taken_letter_for_letter():
    argv = [
        *("--config", "configs/fashion.py", "--study=scales", "--config.method.eta=0.5"),
        *("-config.output.path", "a b", "--config.augment.flip", "--noconfig.train.x", "--train"),
        *("--config.method.noise_scale", "-1", "--config.method.eta=0.7", "--scales", "0,1"),
        *("--", "--config.no.more=1"),
    ]
    found = given_overrides(argv)
    assert found == (
        "--config.method.eta=0.5",
        *("-config.output.path", "a b", "--config.augment.flip", "--noconfig.train.x"),
        *("--config.method.noise_scale", "-1", "--config.method.eta=0.7"),
    )
    assert overridden_fields(found) == {
        *("method.eta", "output.path", "augment.flip", "train.x", "method.noise_scale")
    }


def test_the_commands_of_a_cell():
    given = ("--config.synthesis.max_seeds=20", "--config.method.noise_scale=9")
    found = {
        stage.name: stage
        for stage in stages(
            cell("here", synthesis=("--config.method.noise_scale=1",)),
            setup(Path("out put"), overrides=given),
        )
    }
    assert list(found) == ["generate", "evaluate", "labels", "train"]
    # The cell's own value comes after the user's, so it is the one that counts.
    assert found["generate"].arguments == (
        *("--config", CONFIG, *given, "--config.synthesis.num_variants=10"),
        *("--config.method.noise_scale=1", "--config.output.path=out put/cells/here/set"),
    )
    assert found["generate"].command.endswith("'--config.output.path=out put/cells/here/set'")
    for name in ("evaluate", "train"):
        assert found[name].arguments[:4] == ("--config", CONFIG, *given)
    assert "--synthetic=out put/cells/here/set" in found["evaluate"].arguments
    assert found["labels"].arguments[:2] == ("out put/cells/here/set", "--oracle=sample")
    assert found["train"].arguments[4:] == (
        "--config.data.train_on=mixed",
        "--config.data.synthetic=out put/cells/here/set",
        "--config.train.num_runs=3",
        "--config.train.output=out put/cells/here/classifier",
    )


def test_what_is_left_out():
    here = setup(Path("out"), oracle=None, trains=False)
    assert [stage.name for stage in wanted_stages(cell("a"), here)] == ["generate", "evaluate"]
    assert wanted_stages(cell("a", synthesis=None), here) == []
    real = dataclasses.replace(here, trains=True)
    (training,) = wanted_stages(cell("a", synthesis=None), real)
    assert "--config.data.train_on=real" in training.arguments
    given = dataclasses.replace(here, overrides=("--config.synthesis.num_variants", "2"))
    assert "--config.synthesis.num_variants=10" not in stages(cell("a"), given)[0].arguments


def test_sites_are_those_of_the_network(micro_checkpoint):
    found = study("sites")
    assert names(found) == [
        *("x_T", "x_t", "x_0", "encoder_0", "encoder_1", "bottleneck", "decoder_0", "decoder_1")
    ]
    assert not found.setup.trains
    blocks = studies.UNetBlocks(encoder=4, decoder=4)  # Stable Diffusion 1.5
    assert len(studies.sites(CONFIG, blocks)) == 3 + 4 + 1 + 4
    chosen = study("sites", sites=("x_0", "bottleneck"), scales=("1", "0.5"))
    assert {each.name: each.synthesis for each in chosen.cells}["x_0_scale_0.5"] == (
        "--config.method.site=x_0",
        "--config.method.noise_scale=0.5",
    )
    assert len(chosen.cells) == 4
    with pytest.raises(UserError, match=r"unknown perturbation site 'decoder_2'.*decoder_1"):
        study("sites", sites=("decoder_2",))


def test_scales():
    assert names(study("scales")) == [f"scale_{scale}" for scale in (0, 1, 2, 3, 4, 5, 6, 8)]
    found = study("scales", scales=("0", "2.5", "0"), cells=("scale_2.5",), train=True)
    assert [each.name for each in found.cells] == ["scale_0", "scale_2.5"]
    (only,) = found.chosen
    assert only.synthesis == ("--config.method.noise_scale=2.5",)
    assert found.setup.trains


def test_steps():
    found = study("steps")
    assert found.setup.trains
    cells = {each.name: each for each in found.cells}
    assert {"cycle_100", "cycle_20", "reuse_20", "sde_25", "ode_10"} <= cells.keys()
    for each in cells.values():  # every one is what DreamDA takes
        texts = [text.removeprefix("--config.method.").split("=") for text in each.synthesis]
        options = {
            name: json.loads(value) if value[0].isdigit() else value for name, value in texts
        }
        assert DreamDA(**options).num_inference_steps == int(each.name.split("_")[1])
        assert options.get("encoder_every", 1) == (2 if each.name.startswith("reuse") else 1)


def test_methods():
    cells = studies.methods(CONFIG, ["dreamda", "sdedit"], default="dreamda")
    assert [(each.name, each.config, each.synthesis) for each in cells[-2:]] == [
        ("dreamda", CONFIG, ()),
        ("sdedit", f"{CONFIG}:sdedit", ()),
    ]
    assert {each.name: each.training for each in cells if each.synthesis is None} == {
        "original": (),
        "random_erasing": ("--config.augment.random_erasing=0.5",),
        "cutmix": ("--config.augment.cutmix=1.0",),
        "rand_augment": ("--config.augment.rand_augment=True",),
    }
    found = study("methods")
    assert found.setup.trains
    assert {"original", "dreamda"} <= set(names(found))
    assert "original" not in names(study("methods", train=False))
    digests = {found.setup.digest(each) for each in found.cells}
    assert len(digests) == len({each.config for each in found.cells})


def test_the_preview_counts():
    found = study(
        "scales",
        scales=("0", "1"),
        num_runs=2,
        train=True,
        changes={"synthesis": {"max_seeds": 30, "num_variants": 7}},
        overrides=("--config.synthesis.num_variants=7",),
    )
    text = results.preview(
        found.chosen,
        found.setup,
        num_seeds=len(found.seeds),
        num_variants=found.num_variants,
    )
    assert "images      420 (sets: 2; seeds: 30; variants of each: 7)" in text
    assert "trainings   4 (cells: 2; runs of each: 2)" in text
    assert text.count("    python -m dreamda_jax.") == 2 * 4


def test_an_oracle_is_the_one_named_or_the_packaged_one_of_the_packaged_images():
    assert study("scales").setup.oracle == "sample"
    named = study("scales", changes={"audit": {"oracle": "runs/best"}})
    assert named.setup.oracle == "runs/best"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "scales", "cells": ("scale_9",)}, "did you mean 'scale_8'"),
        ({"name": "scales", "scales": ("1", "two")}, "must be numbers"),
        ({"name": "scales", "scales": ("-1",)}, "0 or more"),
        ({"name": "scales", "sites": ("x_0",)}, "belongs to --study=sites"),
        ({"name": "methods", "scales": ("1",)}, "belongs to --study=scales"),
        ({"name": "steps", "scales": ("1",)}, "belongs to --study=scales"),
        ({"name": "steps", "method": "sdedit"}, "configuration's method is sdedit"),
        ({"name": "methods", "file": f"{CONFIG}:sdedit"}, "all methods itself"),
        ({"name": "sites", "method": "sdedit"}, "configuration's method is sdedit"),
        ({"name": "scales", "output": "gs://bucket/study"}, "of this machine"),
        ({"name": "methods", "changes": {"train": {"num_steps": None}}}, "num_steps=N"),
        ({"name": "methods", "train": False, "cells": ("cutmix",)}, "nothing to do"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        study(**arguments)
