"""The rule of docs/design.md §2 in four sentences, three homes besides, and every entry point."""

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import HANG_GUARD_SECONDS

PACKAGE = ROOT / "dreamda_jax"
FILES = {
    path.relative_to(PACKAGE).as_posix(): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "sample" not in path.relative_to(PACKAGE).parts
}
ENTRY_POINTS = sorted(
    path.parent.name if path.stem == "__main__" else path.stem
    for path in FILES.values()
    if "command_line.run(main" in path.read_text()
)
JOBS = {"generate", "finetune", "train", "evaluate", "prompts", "reproduce", "export"}
LEVELS = [
    {"printable"},
    {"errors", "types"},
    {"algorithms", "data", "settings"},
    {"options"},
    {"configs", "runtime", "models"},
    {"synthesis"},
    JOBS,
    {"plan"},
]
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
JAX_LIBRARIES = {"jax", "flax", "numpy", "jaxtyping", "chex", "optax"}


@functools.cache
def imports(file: str) -> tuple[tuple[int, str], ...]:
    """(line, dotted name) of all a file imports, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(FILES[file].read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return tuple(found)


def room(dotted: str) -> str | None:
    """The package below `dreamda_jax` that a name is in; None of other libraries' names."""
    first, *rest = dotted.split(".")
    return rest[0] if first == "dreamda_jax" and rest else None


def assert_no_import(wrong: Callable[[str, str], bool], rule: str) -> None:
    """Fails with every import, of all files, for which `wrong(file, dotted name)` holds."""
    offenders = [
        f"dreamda_jax/{file}:{line} imports {name}"
        for file in FILES
        for line, name in imports(file)
        if wrong(file, name)
    ]
    assert not offenders, "\n".join([rule, *offenders])


def own_room(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def test_every_folder_has_a_level():
    assert {own_room(file) for file in FILES} - {"__init__", "__main__"} == set(LEVEL)


def test_imports_go_down():
    def wrong(file: str, name: str) -> bool:
        here, there = own_room(file), room(name)
        if there is None or here in ("__init__", "__main__", there) or {here, there} <= JOBS:
            return False
        return LEVEL.get(there, -1) >= LEVEL[here]

    assert_no_import(wrong, f"imports go down: {' < '.join(map(str, LEVELS))}")


def test_a_job_imports_no_other_job():
    def wrong(file: str, name: str) -> bool:
        return own_room(file) in JOBS and room(name) in JOBS - {own_room(file)}

    assert_no_import(wrong, "a job imports no other job")


def test_algorithms_import_jax_libraries_and_types_only():
    def wrong(file: str, name: str) -> bool:
        if own_room(file) != "algorithms":
            return False
        there = room(name)
        if there is not None:
            return there not in ("algorithms", "types")
        return name.split(".")[0] not in JAX_LIBRARIES | sys.stdlib_module_names

    assert_no_import(wrong, "algorithms/ imports JAX libraries and types only")


def test_data_settings_and_prompts_load_without_jax():
    modules = [
        "dreamda_jax." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for file in FILES
        if own_room(file) in ("data", "settings", "options", "prompts")
    ]
    lines = [
        "import importlib, sys",
        "sys.modules['jax'] = None",
        "failed = []",
        f"for name in {modules}:",
        "    try: importlib.import_module(name)",
        "    except ImportError as error: failed.append(f'{name}: {error}')",
        "assert not failed, failed",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def targets(dotted: str) -> Iterator[str]:
    """The file of this package that an import loads: a module, or the one a name is in."""
    parts = dotted.split(".")[1:] if dotted.startswith("dreamda_jax.") else []
    for length in (len(parts), len(parts) - 1):
        if length > 0:
            stem = "/".join(parts[:length])
            for file in (f"{stem}.py", f"{stem}/__init__.py"):
                if file in FILES:
                    yield file
                    return


def test_no_circles():
    graph = {
        file: {target for _, name in imports(file) for target in targets(name)} - {file}
        for file in FILES
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("orbax", {"runtime/checkpoint.py"}),
        ("diffusers", set()),
        ("transformers", {"models/tokenizer.py"}),
        (
            "ml_collections",
            {"settings/command_line.py"}
            | {
                file
                for file in FILES
                if file.endswith("/__main__.py") or own_room(file) == "configs"
            },
        ),
    ],
)
def test_libraries_that_have_one_home(library, homes):
    assert_no_import(
        lambda file, name: name.split(".")[0] == library and file not in homes,
        f"{library} is imported in {', '.join(sorted(homes)) or 'no file'} only",
    )


def test_devices_have_one_home():
    names = {"pmap", "NamedSharding", "process_index", "process_count", "shard_map"}
    offenders = [
        f"dreamda_jax/{file}:{node.lineno} uses {node.attr}"
        for file, path in FILES.items()
        if file != "runtime/devices.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in names
        and isinstance(node.value, ast.Name)
        and node.value.id in {"jax", "sharding"}
    ]
    assert not offenders, "\n".join(offenders)


def test_the_entry_points_are_found():
    assert set(ENTRY_POINTS) == JOBS | {"plan"}


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_every_entry_point_answers_help(entry):
    done = subprocess.run(
        [sys.executable, "-m", f"dreamda_jax.{entry}", "--help"],
        capture_output=True,
        text=True,
        timeout=HANG_GUARD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "python -m dreamda_jax." in done.stdout
    assert "\n  --" in done.stdout  # its flags


def test_entry_points_can_be_imported_side_by_side():
    modules = [
        f"dreamda_jax.{entry}" + (".__main__" if (PACKAGE / entry).is_dir() else "")
        for entry in ENTRY_POINTS
    ]
    lines = "; ".join(f"import {module}" for module in modules)
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in FILES.values()}
    above = {parent for folder in folders for parent in folder.parents if PACKAGE in parent.parents}
    missing = [folder for folder in folders | above if not (folder / "__init__.py").exists()]
    assert not missing, missing  # it would be left out of the wheel
