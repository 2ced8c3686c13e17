"""Paths that may be addresses in an object store, and what stands for them on this machine.

`local(path)` is a path itself, or the place here of an address: what is read is fetched when it is
first asked for; a directory that is written is `mirrored` for as long as its run lasts. Everything
else in the package knows local paths only.

That place is `~/.cache/dreamda_jax/staging`, or in $DREAMDA_JAX_STAGING, and nobody else may enter
it: weights that are found there are believed.
"""

import contextlib
import functools
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO, cast

from dreamda_jax.data.files import atomic
from dreamda_jax.data.files.fetched import Fetched, Object
from dreamda_jax.data.files.mirror import Mirror
from dreamda_jax.data.files.object_store import is_remote, open_store
from dreamda_jax.data.files.private import cache_home, check_place, private_directory
from dreamda_jax.errors import UserError
from dreamda_jax.printable import shown

_DIRECTORY = "DREAMDA_JAX_STAGING"
_mirrored: dict[str, Path] = {}


def local(path: str | os.PathLike[str]) -> Path:
    """Where a path is on this machine; "~" is expanded.

    Raises:
      UserError: nothing is at the address, or the store cannot be reached.
    """
    text = os.fspath(path)
    if not is_remote(text):
        return Path(text).expanduser()
    address = text.rstrip("/")
    for root, directory in _mirrored.items():
        if address == root or address.startswith(f"{root}/"):
            return directory / address[len(root) + 1 :]
    return _fetched(address)


def address_of(directory: Path) -> str | None:
    """The address that a place here stands for, or None."""
    for root, here in _mirrored.items():
        if directory.is_relative_to(here):
            return f"{root}/{directory.relative_to(here).as_posix()}".removesuffix("/.")
    return None


@contextlib.contextmanager
def mirrored(
    *paths: str | None,
    pushes: bool = True,
    wanted: Callable[[str], bool] = lambda name: True,
    process_index: int = 0,
) -> Iterator[list[Mirror]]:
    """Gives directories in an object store a place here, and keeps the store up to date.

    What is printed meanwhile, and what a `UserError` says, names the address.

    Args:
      *paths: directories a run writes; those that are no addresses are left alone.
      pushes: whether this process brings up what is made; one of several that make the same does.
      wanted: of what is there, by name, what is needed here.
      process_index: of this process; several on one machine have places of their own.

    Raises:
      UserError: the store cannot be reached or refuses.
    """
    addresses = [path.rstrip("/") for path in paths if path is not None and is_remote(path)]
    mirrors: list[Mirror] = []
    with contextlib.ExitStack() as stack:
        for address in dict.fromkeys(addresses):
            directory = _place("runs", f"{address} {process_index}")
            mirror = Mirror(open_store(address), directory)
            _forget_another_run(mirror)
            mirror.pull(wanted)
            mirrors.append(mirror)
            _mirrored[address] = directory
            stack.callback(_mirrored.pop, address)
        if mirrors:
            stack.enter_context(_speaking_of_addresses(mirrors))
        for mirror in mirrors:
            stack.callback(_clear, mirror)
            if pushes:
                stack.enter_context(mirror.kept_up())
        yield mirrors


def _clear(mirror: Mirror) -> None:
    if mirror.up_to_date:
        _empty(mirror)


def _empty(mirror: Mirror) -> None:
    mirror.fetched.forget()
    shutil.rmtree(mirror.directory, ignore_errors=True)


def _forget_another_run(mirror: Mirror) -> None:
    """Keeps what an interrupted run left here only if the store knows the same run."""
    here, there = mirror.directory / "config.json", mirror.directory / ".lock-config.json"
    known = mirror.store.get("config.json", there)
    same = known and here.exists() and here.read_bytes() == there.read_bytes()
    if not same:
        _empty(mirror)
    mirror.directory.mkdir(parents=True, exist_ok=True)
    there.unlink(missing_ok=True)


def _fetched(address: str) -> Path:
    """What is at an address, brought here; a file, or a directory with all that is in it."""
    parent, _, name = address.rpartition("/")
    target = _place("inputs", address) / name
    there = None if parent.endswith(":/") else open_store(parent).object(name)
    if there is not None:
        fetched = Fetched(target.parent)
        if not fetched.has(name, there):
            for _ in _with_a_bar(address, {name: there}):
                open_store(parent).get(name, target)
            fetched.add(name, there)
            fetched.save()
        return target
    mirror = Mirror(open_store(address), target)
    names = mirror.pull(announced=functools.partial(_with_a_bar, address))
    if not names:
        raise UserError(f"{address}: there is nothing at this address.")
    _remove_all_but(names, target)
    return target


def _with_a_bar(address: str, behind: dict[str, Object]) -> Iterator[str]:
    if not behind:
        return
    import tqdm  # here, where something is fetched

    size = sum(there.size for there in behind.values())
    print(f"fetching    {shown(address)}, {len(behind):,} files, {size / 1e6:,.1f} MB", flush=True)
    with tqdm.tqdm(total=size, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        for name, there in behind.items():
            yield name
            bar.update(there.size)


def _remove_all_but(names: set[str], directory: Path) -> None:
    """What was removed there is not to be read here; of a class no empty folder either."""
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):  # it holds something
                path.rmdir()
        elif (
            path.relative_to(directory).as_posix() not in names
            and not path.name.startswith(atomic.PREFIX)  # another process is fetching it
        ):
            path.unlink(missing_ok=True)


def _place(kind: str, name: str) -> Path:
    """A place of this user alone, below a directory that nobody else can put things into."""
    given = os.environ.get(_DIRECTORY)
    otherwise = f"Give a directory of your own as the environment variable {_DIRECTORY}."
    if given:
        root = check_place(Path(given).expanduser(), otherwise=otherwise)
    else:
        home = check_place(cache_home(), otherwise=otherwise)
        root = private_directory(home / "staging", otherwise=otherwise)
    own = private_directory(root / kind, otherwise=otherwise)
    return own / hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]


@contextlib.contextmanager
def _speaking_of_addresses(mirrors: list[Mirror]) -> Iterator[None]:
    def spoken(text: str) -> str:
        for mirror in mirrors:
            text = text.replace(str(mirror.directory), mirror.store.url)
        return text

    class Speaking:
        def __init__(self, stream: TextIO) -> None:
            self._stream = stream

        def write(self, text: str) -> int:
            return self._stream.write(spoken(text))

        def __getattr__(self, name: str) -> object:
            return getattr(self._stream, name)

    try:
        with contextlib.redirect_stdout(cast(TextIO, Speaking(sys.stdout))):
            yield
    except UserError as error:
        if (said := spoken(str(error))) != str(error):
            raise UserError(said) from error
        raise
