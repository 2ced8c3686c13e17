"""The package beside today's Hugging Face stack: nothing of it is held back."""

import json
import subprocess
import sys

import pytest
from packaging.version import Version

from tests.support.paths import ROOT

OTHERS = ("datasets", "transformers", "diffusers", "gradio", "sentence-transformers")

pytestmark = pytest.mark.network


def pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def resolved(*requirements: str) -> dict[str, Version]:
    """What pip would install into an empty environment of this Python, by name."""
    dry = ("install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-")
    report = json.loads(pip(*dry, *requirements))
    found = (each["metadata"] for each in report["install"])
    return {each["name"].lower().replace("_", "-"): Version(each["version"]) for each in found}


def test_nothing_of_today_s_stack_is_held_back():
    together = resolved(str(ROOT), *OTHERS)
    assert "dreamda-jax" in together
    alone = resolved(*OTHERS)
    held_back = {
        name: f"{together[name]}, alone {version}"
        for name, version in alone.items()
        if name in together and together[name] < version
    }
    assert held_back == {}
    assert set(OTHERS) <= set(together)


def test_the_package_alone_brings_no_torch_and_no_tensorflow():
    names = set(resolved(str(ROOT)))
    assert {"jax", "flax", "transformers"} <= names
    assert not {"torch", "tensorflow", "diffusers"} & names
