"""Presets of configurations; those of the Python API are tested in test_pipeline."""

import pytest

from configs import fashion, methods, pets
from dreamda_jax.options import presets
from dreamda_jax.synthesis.dreamda import DreamDA


@pytest.mark.parametrize("file", [fashion, pets])
def test_a_preset_comes_before_what_a_configuration_sets(file):
    plain, fast = file.get_config(), file.get_config("preset=fast")
    assert fast.method.num_inference_steps == 20
    changed = {"num_inference_steps": plain.method.num_inference_steps}
    assert {**fast.method, **changed} == dict(plain.method)
    assert fast.output.path == f"{plain.output.path}_fast"
    assert fast.train == plain.train


def test_the_paper_s_is_the_default_of_the_method():
    assert DreamDA(**presets.preset("paper")) == DreamDA()
    assert fashion.get_config("preset=paper").method.num_inference_steps == 100
    with pytest.raises(ValueError, match=r"unknown method 'fast' .*preset=paper, preset=fast"):
        methods.method_config("fast")
