"""Commands as processes of their own that need not import JAX, Flax and diffusers again.

A server imports them once and touches no device; its only other thread is that of pyarrow's
allocator, which survives forks. Every command is a fork of it with its own arguments, folder,
environment, output and exit code.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from tests.support.waiting import HANG_GUARD_SECONDS

_IMPORTED = (
    *("dreamda_jax.generate.build", "dreamda_jax.generate.run", "dreamda_jax.synthesis.pipeline"),
    *("dreamda_jax.train.build", "dreamda_jax.train.methods", "dreamda_jax.runtime.flops"),
    *("dreamda_jax.reproduce.build", "dreamda_jax.reproduce.run", "dreamda_jax.plan.summary"),
    *("dreamda_jax.plan.generate_job", "dreamda_jax.plan.finetune_job"),
    *("dreamda_jax.plan.train_job", "dreamda_jax.plan.stand_ins"),
)
_READ_AT_IMPORT = ("JAX_", "JAXLIB_", "TF_", "HF_")  # from the environment, by these libraries


def run(
    command: Sequence[str], *, cwd: Path, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` does with captured text.

    Args:
      command: `sys.executable`, "-m", a module and its arguments.
      cwd: the folder it starts in.
      env: its environment; what libraries read as they are imported must be as it is here.
    """
    python, option, module, *arguments = command
    assert (python, option) == (sys.executable, "-m"), command
    for name in {*env, *os.environ}:
        if name.startswith(_READ_AT_IMPORT):
            assert env.get(name) == os.environ.get(name), f"{name} has been read already"
    with tempfile.TemporaryDirectory() as directory:
        out, err = (Path(directory) / name for name in ("out", "err"))
        request = {
            "module": module,
            "arguments": arguments,
            "cwd": str(cwd),
            "env": dict(env),
            "files": [os.devnull, str(out), str(err)],
        }
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps(request), file=server.stdin, flush=True)
        code = json.loads(server.stdout.readline())
        return subprocess.CompletedProcess(command, code, out.read_text(), err.read_text())


@functools.cache
def _server() -> subprocess.Popen[str]:
    """One of this process; it ends as its input does."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    server = subprocess.Popen([sys.executable, "-m", __name__], cwd=ROOT, **pipes)
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # a fork's collections would copy the pages of all that is shared
    for line in sys.stdin:
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        else:
            _become(**json.loads(line))
            return


def _become(
    module: str,
    arguments: list[str],
    cwd: str,
    env: dict[str, str],
    files: list[str],
) -> None:
    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    signal.alarm(int(HANG_GUARD_SECONDS))
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve()
