"""How a command ends on what the system refuses: one line, or none where nobody reads on."""

import errno
import os
import sys
import typing
from collections.abc import Callable

from dreamda_jax.errors import UserError

_SIGPIPE_CODE = 141  # 128 + 13, what a shell shows of a process that SIGPIPE ended
# What the system around the program refuses. Others are mistakes of ours: they keep a traceback.
_REFUSALS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
        *(errno.EIO, errno.EMFILE, errno.ENFILE, errno.EISDIR, errno.ENOTDIR, errno.ELOOP),
        *(errno.ENAMETOOLONG, errno.ENOMEM, errno.ESTALE, errno.ENODEV, errno.ENXIO),
    }
)


def fail(message: str, *, code: int) -> typing.NoReturn:
    """Ends the process with a line on standard error."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def exit_with(main: Callable[[], int | None]) -> typing.NoReturn:
    """Runs a command and ends the process with its result, in one line where it is an error.

    Args:
      main: returns the exit code.
    """
    code = None
    try:
        code = main()
        sys.stdout.flush()
    except UserError as error:
        fail(str(error), code=1)
    except LostOutput as lost:
        fail_of_output(lost)
    except OSError as error:
        fail_of_system(error)
    except ValueError as error:
        if "jax" in sys.modules or "jax" not in str(error).lower():
            raise
        # JAX reads the environment as it is imported, and is not there if it cannot.
        fail(f"JAX does not take a setting of the environment: {error}", code=1)
    sys.exit(code or 0)


class LostOutput(Exception):
    """Standard output, or the standard error stream, cannot be written; `error` says why."""

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(f"{name}: {error}")
        self.name, self.error = name, error


def watch_streams() -> None:
    """From now on an error of the standard streams is told from one of any other file."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Watched):
            setattr(sys, name, _Watched(name, stream))


def fail_of_output(lost: LostOutput) -> typing.NoReturn:
    """Ends the process whose output goes nowhere.

    A reader that went away (`| head -1`) ends it quietly, with the code of SIGPIPE.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, getattr(sys, lost.name).fileno())  # the interpreter flushes once more
    os.close(nowhere)
    if isinstance(lost.error, BrokenPipeError):
        sys.exit(_SIGPIPE_CODE)
    fail(f"standard output cannot be written: {lost.error.strerror}", code=1)


def fail_of_system(error: OSError) -> typing.NoReturn:
    """Ends the process after an error of the system that nothing below has put into words.

    Raises:
      OSError: `error`, if it is none of those that a person can mend.
    """
    if error.errno not in _REFUSALS:
        raise error
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    fail(f"{where}{error.strerror}", code=1)


class _Watched:
    """A text stream whose errors say that they are its own."""

    def __init__(self, name: str, stream: typing.TextIO) -> None:
        self._name, self._stream = name, stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            raise LostOutput(self._name, error) from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise LostOutput(self._name, error) from error

    def __getattr__(self, name: str) -> typing.Any:
        return getattr(self._stream, name)
