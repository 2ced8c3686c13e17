"""docs/launch names every file of launch/, and what exists: files, commands, flags, fields."""

import importlib.util
import re
import subprocess
import sys

import pytest

from tests.launch.stand_ins import ENTRY_POINTS, LAUNCH, ROOT, name

FILES = sorted(path for path in LAUNCH.rglob("*") if path.is_file())
PAGES = sorted((ROOT / "docs/launch").glob("*.md"))
SCRIPTS = {
    "tpu_vm": LAUNCH / "tpu_vm.sh",
    "gke": LAUNCH / "gke/xpk.sh",
    "slurm": LAUNCH / "slurm/gpu.sbatch",
}


def words() -> str:
    """All pages and launch files."""
    return "\n".join(path.read_text() for path in [*PAGES, *FILES])


def test_every_launch_file_has_its_page():
    pages = "\n".join(path.read_text() for path in PAGES)
    for path in FILES:
        assert name(path) in pages, name(path)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_pages_name_what_exists(path):
    text = path.read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (path.parent / target).exists(), target
    for file in re.findall(r"(?<![\w/])(?:launch|configs|docs|dreamda_jax)/[\w./-]+\.\w+\b", text):
        assert (ROOT / file).exists(), file
    for entry in re.findall(r"-m dreamda_jax\.(\w+)", text):
        assert importlib.util.find_spec(f"dreamda_jax.{entry}"), entry
    assert path.name == "README.md" or f"({path.name})" in (path.parent / "README.md").read_text()


def test_pages_use_the_commands_and_variables_that_scripts_have():
    commands = re.findall(r"launch/tpu_vm\.sh (\w+)", (ROOT / "docs/launch/tpu_vm.md").read_text())
    assert "keep" in commands
    for command in commands:
        assert re.search(rf"^  {command}\b", SCRIPTS["tpu_vm"].read_text(), re.M), command
    for page, script in SCRIPTS.items():
        text = (ROOT / f"docs/launch/{page}.md").read_text()
        exported = re.findall(r"\b([A-Z_]{3,})=", " ".join(re.findall(r"^export .*", text, re.M)))
        for variable in exported:
            assert variable in script.read_text(), (page, variable)


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_entry_points_have_the_flags_that_launching_uses(entry):
    # Flags of ours have underscores, those of the platforms hyphens.
    used = set(re.findall(r"--([a-z]+(?:_[a-z]+)+)\b", words())) | {"config"}
    assert {"coordinator_address", "num_processes", "process_id"} <= used
    done = subprocess.run(
        [sys.executable, "-m", f"dreamda_jax.{entry}", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert used <= set(re.findall(r"^  --(\w+):", done.stdout, re.M))


def test_configurations_have_the_fields_that_launching_sets():
    fields = set(re.findall(r"--config\.([a-z_.]*[a-z])\b", words()))
    assert "output.path" in fields
    fields.discard("section.field")  # of the general form
    spec = importlib.util.spec_from_file_location("pets", ROOT / "configs/pets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    for field in fields:
        section, _, key = field.partition(".")
        assert key in config[section], field
