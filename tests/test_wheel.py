"""The wheel alone: built, installed into a new environment, and used from an empty directory."""

import email.message
import email.parser
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from tests.support.paths import ROOT
from tests.support.waiting import HANG_GUARD_SECONDS

pytestmark = pytest.mark.slow

MINE = """
from dreamda_jax.configs import defaults, fashion


def get_config(method="dreamda"):
    config = fashion.get_config(method)
    assert set(config) == set(defaults.get_config(method))
    config.output.path = "runs/mine"
    return config
"""


class Installed(NamedTuple):
    wheel: Path
    python: Path
    directory: Path

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """A program of the environment, in a directory that was empty at first."""
        program, *arguments = command
        environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
        return subprocess.run(
            [str(self.python.parent / program), *arguments],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANG_GUARD_SECONDS,
            check=False,
        )

    def succeed(self, *command: str) -> str:
        done = self.run(command)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The project's dependencies are those of this environment; the project itself is not."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"  # a copy, since building leaves folders where it runs
    for folder in ("dreamda_jax", "configs", "docs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    for name in ("pyproject.toml", "LICENSE", "NOTICE", "README.md"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(directory), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = directory.glob("*.whl")
    environment = directory / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    # Before it can see what is installed here, where the project may be installed too.
    done = subprocess.run(
        [*pip, f"--python={python}", "install", "--no-index", "--no-deps", str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (packages,) = environment.glob("lib/python*/site-packages")
    seen = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(seen))
    (directory / "empty").mkdir()
    return Installed(wheel, python, directory / "empty")


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.parser.Parser().parsestr(archive.read(name).decode())


def test_what_is_in_it(installed):
    with zipfile.ZipFile(installed.wheel) as archive:
        names = archive.namelist()
    folders = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert folders == {"dreamda_jax"}
    for name in ("py.typed", "configs/fashion.py", "sample/tiny_sd/model_index.json"):
        assert f"dreamda_jax/{name}" in names
    assert not [name for name in names if "provenance" in name]
    licences = {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


def test_its_description_has_no_link_that_leads_nowhere(installed):
    text = metadata(installed.wheel).get_payload()
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_it_is_what_runs(installed):
    where = installed.succeed("python", "-c", "import dreamda_jax; print(dreamda_jax.__file__)")
    assert Path(where.strip()).is_relative_to(installed.python.parents[1])


def test_images_are_made_and_a_classifier_is_trained(installed):
    printed = installed.succeed(
        *("dreamda", "generate", "--config", "fashion", "--config.synthesis.max_seeds=4"),
        *("--config.synthesis.num_variants=2", "--config.method.num_inference_steps=4"),
        *("--config.synthesis.seeds_per_shard=2", "--config.synthesis.seeds_per_device=1"),
    )
    assert "runs/fashion" in printed
    made = SyntheticSource(installed.directory / "runs" / "fashion")
    assert len(made) == 8
    assert (installed.directory / "runs" / "fashion" / "contact_sheet.png").is_file()
    installed.succeed(
        *("dreamda", "train", "--config", "fashion", "--config.train.num_steps=3"),
        *("--config.data.train_on=mixed", "--config.train.batch_size=8"),
    )
    assert (installed.directory / "runs" / "fashion_classifier" / "results.json").is_file()


def test_help(installed):
    listed = installed.succeed("dreamda", "--help")
    for command in ("generate", "train", "evaluate", "finetune", "prompts", "plan", "export"):
        assert f"\n  {command} " in listed
    section = installed.succeed("dreamda", "generate", "--help=method")
    assert "noise_scale" in section
    assert "--config.train" not in section


def test_a_configuration_of_one_s_own(installed, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    printed = installed.succeed(
        "dreamda", "generate", "--config", str(tmp_path / "mine.py:sdedit"), "--dry_run"
    )
    assert "runs/mine" in printed
    assert "sdedit" in printed


def test_a_wrong_name_lists_those_there_are(installed):
    done = installed.run(["dreamda", "generate", "--config", "fashon", "--dry_run"])
    assert done.returncode == 1
    assert "Did you mean fashion?" in done.stderr
    assert "caltech101, cars, fashion" in done.stderr
    assert "Traceback" not in done.stderr
