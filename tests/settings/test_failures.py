"""What the system refuses is one line, and a reader that goes away is none."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dreamda_jax.data.files import atomic
from dreamda_jax.errors import UserError
from tests.support.paths import ROOT


def run(body: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """A command whose main has this body."""
    script = "import os, sys\nfrom dreamda_jax.settings import command_line\ndef main():\n"
    script += textwrap.indent(textwrap.dedent(body), "    ") + "\ncommand_line.run(main)\n"
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        text=True,
        check=False,
        **{**usual, **options},
    )


def environment(*, buffered: bool) -> dict[str, str]:
    rest = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return rest if buffered else {**rest, "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def nobody():
    """The writing end of a pipe that is not read any more."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


LATE = "print('first')"
AT_ONCE = "print('first', flush=True)\nprint('second', flush=True)"
IN_A_JOB = """
    from dreamda_jax.runtime import interrupt
    return interrupt.exit_code(lambda stop: print("x", flush=True) or 0)
"""


WAYS = pytest.mark.parametrize(
    ("body", "buffered"),
    [(LATE, True), (LATE, False), (AT_ONCE, True), (AT_ONCE, False), (IN_A_JOB, True)],
    ids=["late", "late, no buffer", "at once", "at once, no buffer", "in a job"],
)


@WAYS
def test_a_reader_that_went_away_ends_it_quietly(nobody, body, buffered):
    done = run(body, stdout=nobody, env=environment(buffered=buffered))
    assert (done.returncode, done.stderr) == (141, "")


def test_both_streams_into_a_pipe_that_nobody_reads(nobody):
    done = run("print('x', file=sys.stderr)\nprint('y')", stdout=nobody, stderr=nobody)
    assert done.returncode == 141


def test_help_for_a_reader_that_went_away(nobody):
    done = run(LATE, "--help", stdout=nobody)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@WAYS
def test_an_output_that_is_full(body, buffered):
    with open("/dev/full", "w") as full:
        done = run(body, stdout=full, env=environment(buffered=buffered))
    assert done.returncode == 1
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("code", [errno.EISDIR, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO])
def test_what_the_system_refuses_is_one_line(code):
    done = run(f"raise OSError({code}, os.strerror({code}), 'the/file')")
    assert done.returncode == 1
    assert done.stderr == f"error: the/file: {os.strerror(code)}\n"


def test_our_own_mistakes_keep_their_traceback():
    for body in ("open('no such file')", "raise ValueError('x')", "raise BrokenPipeError(32, 'x')"):
        assert "Traceback" in run(body).stderr


def test_a_limit_on_the_size_of_files(tmp_path):
    body = f"""
        import resource
        from pathlib import Path
        from dreamda_jax.data.files import atomic
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        with atomic.disk_full_is_a_user_error(Path({str(tmp_path)!r}), needed=4096):
            atomic.write_atomically(Path({str(tmp_path / "x")!r}), bytes(4096))
    """
    done = run(body)
    assert done.returncode == 1
    assert "larger than the limit (`ulimit -f`): 4,096 bytes were needed" in done.stderr
    assert not list(tmp_path.iterdir())
    with (
        pytest.raises(UserError, match="ulimit"),
        atomic.disk_full_is_a_user_error(tmp_path, needed=1),
    ):
        raise RuntimeError(f"write() failed: {os.strerror(errno.EFBIG)}")  # as ArrayRecord says it


@pytest.mark.parametrize("module", ["generate", "train", "export"])
def test_ctrl_c_while_a_command_is_being_imported(tmp_path, module):
    (tmp_path / "ml_collections").mkdir()
    stub = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(100)\n"
    (tmp_path / "ml_collections" / "__init__.py").write_text(stub)
    done = subprocess.run(
        [sys.executable, "-m", f"dreamda_jax.{module}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr == "\nstopped by SIGINT\n"


def test_a_program_that_imports_the_package_keeps_its_hook():
    script = "import sys, dreamda_jax\nassert sys.excepthook is sys.__excepthook__"
    subprocess.run([sys.executable, "-c", script], cwd=Path(ROOT), check=True)
