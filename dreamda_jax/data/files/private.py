"""Directories of this user alone: what is found there was put there by this user.

Weights and programs that are kept on a machine are believed when they are found again. A name in
the system's temporary directory can be taken by anybody, as a directory or as a link.
"""

import contextlib
import os
import stat
from pathlib import Path

from dreamda_jax.errors import UserError

_NOBODY_ELSE = 0o700


def cache_home() -> Path:
    """`~/.cache/dreamda_jax`, or where XDG_CACHE_HOME moves it; it may not be there yet."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one counts as none: https://specifications.freedesktop.org/basedir-spec
    base = Path(home) if os.path.isabs(home) else Path.home() / ".cache"
    return base / "dreamda_jax"


def private_directory(path: Path, *, otherwise: str) -> Path:
    """Makes a directory that nobody else may enter, or makes sure that one is such; returns it.

    One that others could read, or the user's group could write to, is closed to them.

    Args:
      path: of the directory; its parents are made as usual.
      otherwise: what to do if it cannot be had, for the message.

    Raises:
      UserError: it cannot be made; or it is a link, no directory, another user's, or everybody may
        write to it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # not `exist_ok`, which follows links
            path.mkdir(_NOBODY_ELSE)
        found = path.lstat()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path} cannot be made ({reason}). {otherwise}") from error
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no directory"
        raise UserError(f"{path} is {kind}. Remove it. {otherwise}")
    if hasattr(os, "getuid"):  # Windows has neither owners nor modes of this kind
        if found.st_uid != os.getuid():
            raise UserError(f"{path} belongs to another user, who could change it. {otherwise}")
        if found.st_mode & stat.S_IWOTH:
            raise UserError(
                f"everybody may write to {path}, so what lies there may be anybody's. Remove it. "
                f"{otherwise}"
            )
        if stat.S_IMODE(found.st_mode) & ~_NOBODY_ELSE:
            path.chmod(_NOBODY_ELSE)
    return path


def check_place(path: Path, *, otherwise: str) -> Path:
    """Makes sure that a private directory can be had in a place that a user named; returns it.

    Args:
      path: a directory, a link of the user's to one, or nothing yet.
      otherwise: what to do if it is no such place, for the message.

    Raises:
      UserError: another user could replace what is in it: it, or the link, is another's and not the
        system's, or everybody may rename what is there.
    """
    for found in (path.lstat, path.stat):
        try:
            status = found()
        except OSError:  # it is made, or whoever makes it says why it cannot be
            continue
        if not hasattr(os, "getuid"):
            continue
        if status.st_uid not in (os.getuid(), 0):
            raise UserError(f"{path} belongs to another user, who could change it. {otherwise}")
        everybody = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if everybody and not stat.S_ISLNK(status.st_mode):
            raise UserError(f"everybody may change what is in {path}. {otherwise}")
    return path
