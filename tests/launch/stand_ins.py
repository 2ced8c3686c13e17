"""Stand-ins for the commands of clouds and clusters.

A stand-in writes down how it was called and does what matters here of the real command: `gcloud …
ssh` runs the command in a directory that plays the host's home, `srun` runs its program.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

LAUNCH = ROOT / "launch"
ENTRY_POINTS = ("generate", "finetune", "train", "evaluate")

# What a shell could take apart.
ARGUMENTS = [
    "--config=configs/pets.py",
    '--config.prompt.template=it\'s a {class}, "really" $HOME `id` * #1',
    "--config.output.path=/data/my runs/pets",
]


def name(path: Path) -> str:
    """Of a test's parameter."""
    return str(path.relative_to(ROOT))


# What is common to all stand-ins; `next_of` takes the first of the values set down in a file.
_STAND_IN = """#!{python} -IS
import json, os, pathlib, shutil, subprocess, sys
where = pathlib.Path({where!r})
home = where / "home"
command = pathlib.Path(sys.argv[0]).name
cache = os.environ.get("JAX_COMPILATION_CACHE_DIR")
with open(where / "calls", "a") as file:
    file.write(json.dumps([command, *sys.argv[1:], cache]) + "\\n")

def next_of(name, default):
    file = where / name
    values = file.read_text().split("\\n") if file.exists() else []
    if not values:
        return default
    file.write_text("\\n".join(values[1:])) if values[1:] else file.unlink()
    return values[0]

def run(command, **options):
    sys.exit(subprocess.run(command, **options).returncode)
"""
_DOES = {
    "gcloud": """
if "describe" in sys.argv:
    state = next_of("states", "ACTIVE")
    sys.exit(1) if state == "ABSENT" else print(state)
if "scp" in sys.argv:
    shutil.copy(sys.argv[sys.argv.index("scp") + 1], home)
if "ssh" in sys.argv:
    (text,) = [arg.partition("=")[2] for arg in sys.argv if arg.startswith("--command=")]
    run(["bash", "-c", text], cwd=home, env={**os.environ, "HOME": str(home)})
""",
    "uv": """
if "venv" in sys.argv:
    python = pathlib.Path(".venv/bin/python")
    python.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(where / "bin/python", python)
""",
    "python": 'sys.exit(int(next_of("codes", "0")))',
    "srun": """
run(sys.argv[[arg.startswith("--") for arg in sys.argv[1:]].index(False) + 1 :])
""",
    "xpk": "",
    "curl": "",
    "scontrol": "",
    "sleep": "",
    "pkill": "",
}


class Cluster:
    """Commands that stand in for a cluster's, in `where`/bin; `where`/home is a host's home."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.home = where / "home"
        (self.home / ".local/bin").mkdir(parents=True)
        (where / "bin").mkdir()
        head = _STAND_IN.format(python=sys.executable, where=str(where))
        for command, does in _DOES.items():
            folder = self.home / ".local/bin" if command == "uv" else where / "bin"
            (folder / command).write_text(head + does)
            (folder / command).chmod(0o755)

    def run(self, *command: str | Path, cwd: Path = ROOT, **variables: str) -> int:
        keep = {key: os.environ[key] for key in ("TMPDIR", "LANG") if key in os.environ}
        path = f"{self.where / 'bin'}:/usr/bin:/bin"
        environment = {**keep, "PATH": path, "HOME": str(self.home), **variables}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.output = done.stdout + done.stderr
        return done.returncode

    def set(self, file: str, *values: object) -> None:
        """`codes` that python ends with, `states` of the queued resource: one after the other."""
        (self.where / file).write_text("\n".join(map(str, values)))

    def calls(self, command: str) -> list[list[str]]:
        """The arguments of every call of a command, JAX_COMPILATION_CACHE_DIR last."""
        lines = (self.where / "calls").read_text().splitlines()
        return [call[1:] for call in map(json.loads, lines) if call[0] == command]

    def verbs(self) -> list[str]:
        """What gcloud was asked to do, apart from telling the state."""
        calls = self.calls("gcloud") if (self.where / "calls").exists() else []
        return [call[3] for call in calls if call[3] != "describe"]
