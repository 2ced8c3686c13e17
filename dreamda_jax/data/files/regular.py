"""Ordinary files: what a path must name before it is opened.

Opening a pipe waits for somebody who writes into it, and a device may never end. Both can lie in a
folder that others made, under any name.
"""

import stat
from pathlib import Path

from dreamda_jax.errors import UserError

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


def check_regular(path: Path) -> Path:
    """Returns the path if it names an ordinary file or a link to one, or if nothing is there.

    Raises:
      UserError: it names something else, such as a pipe.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return path
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise UserError(f"{path} is {kind}, where a file is needed. Give another path.")
    return path
