"""The dependency direction of docs/design.md §2, and that every entry point answers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dreamda_jax"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "sample" not in path.parts)
ENTRY_POINTS = sorted(
    path.stem for path in PACKAGE.glob("*.py") if "command_line.run(main)" in path.read_text()
)
JAX_LIBRARIES = {"jax", "flax", "numpy", "jaxtyping", "chex", "optax", "distrax"}


def imports(path: Path) -> set[str]:
    """Dotted names of all modules a file imports, those inside functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def assert_imports_only_jax_libraries(path: Path, own: str) -> None:
    for module in imports(path):
        assert (
            module.split(".")[0] in JAX_LIBRARIES | sys.stdlib_module_names
            or own.startswith(module)
            or module.startswith(("dreamda_jax.types", own))
        ), module


def test_the_entry_points_are_found():
    assert {"generate", "export", "train"} <= set(ENTRY_POINTS)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nothing_imports_an_entry_point(path):
    assert not imports(path) & {f"dreamda_jax.{entry}" for entry in ENTRY_POINTS}


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.parent.name in {"diffusion", "selftrain", "metrics"}], ids=name
)
def test_algorithms_import_only_types_and_jax_libraries(path):
    assert_imports_only_jax_libraries(path, f"dreamda_jax.{path.parent.name}")


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "data"], ids=name)
def test_data_never_imports_jax(path):
    tops = {module.split(".")[0] for module in imports(path)}
    assert not tops & {"jax", "flax"}
    # data/augment/ runs on the devices; Grain's workers must not load it.
    apart = ("dreamda_jax.models", "dreamda_jax.data.augment")
    assert not any(module.startswith(apart) for module in imports(path))


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "augment"], ids=name)
def test_augmentations_import_only_types_and_jax_libraries(path):
    assert_imports_only_jax_libraries(path, "dreamda_jax.data.augment")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_orbax_is_imported_in_one_file(path):
    uses = any(module.split(".")[0] == "orbax" for module in imports(path))
    assert uses == (name(path) == "checkpoint.py")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_configuration_stops_at_the_entry_points(path):
    if path.parent == PACKAGE and path.stem in {*ENTRY_POINTS, "command_line"}:
        return
    assert not any(module.startswith("ml_collections") for module in imports(path))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_diffusers_is_imported_in_one_file(path):
    uses = any(module.split(".")[0] == "diffusers" for module in imports(path))
    assert uses == (name(path) == "models/stable_diffusion.py")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_devices_have_one_home(path):
    names = {"pmap", "NamedSharding", "process_index", "process_count", "shard_map"}
    used = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"jax", "sharding"}
    }
    assert not used & names or name(path) == "mesh.py"


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_every_entry_point_answers_help(entry):
    done = subprocess.run(
        [sys.executable, "-m", f"dreamda_jax.{entry}", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "python -m dreamda_jax." in done.stdout
    assert "\n  --" in done.stdout  # its flags


def test_entry_points_can_be_imported_side_by_side():
    lines = "; ".join(f"import dreamda_jax.{entry}" for entry in ENTRY_POINTS)
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
