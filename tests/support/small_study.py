"""A study made of small scripts instead of trainings: what each of its commands does is written."""

import json
from pathlib import Path

from dreamda_jax.reproduce import run
from dreamda_jax.reproduce.cells import Cell, Setup, Stage

CONFIG = "configs/fashion.py"


def setup(output: Path, **changes) -> Setup:
    values = {
        "output": output,
        "overrides": (),
        "oracle": "sample",
        "num_runs": 3,
        "trains": True,
        "digests": {CONFIG: "of the configuration"},
    }
    return Setup(**{**values, **changes})


def cell(name: str, **changes) -> Cell:
    return Cell(**{"name": name, "config": CONFIG, "synthesis": (), **changes})


def replace_stages(monkeypatch, directory: Path, scripts: dict[tuple[str, str], str]) -> None:
    """Every stage appends its name to `directory`/ran and writes its result, or runs its script."""
    module = directory / "stage_of_a_test.py"
    module.write_text("import sys; exec(sys.argv[1])")
    monkeypatch.setenv("PYTHONPATH", str(directory))
    usual = (
        "from pathlib import Path; result = Path({result!r}); "
        "result.parent.mkdir(parents=True, exist_ok=True); result.write_text('{{}}'); "
        "open({ran!r}, 'a').write({name!r} + chr(10))"
    )

    def stages(cell: Cell, setup: Setup) -> list[Stage]:
        found = []
        for name in ("generate", "evaluate", "labels", "train"):
            result = setup.directory(cell) / "made" / name
            script = scripts.get((cell.name, name)) or usual.format(
                result=str(result), ran=str(directory / "ran"), name=f"{cell.name} {name}"
            )
            found.append(Stage(name, module.stem, (script,), result))
        return found

    monkeypatch.setattr(run, "stages", stages)
    monkeypatch.setattr(run, "wanted_stages", stages)


def ran(directory: Path) -> list[str]:
    """What ran since the last call."""
    file = directory / "ran"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def write_json(file: Path, value) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))
