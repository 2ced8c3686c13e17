"""A run's directory on this machine, and its copy in an object store that others can trust.

Everything is written locally, as to any disk, and brought up in an order in which a reader never
sees more than is there: first what a mark speaks of, then the mark (a shard's done marker, a
checkpoint's metadata), then what says that all is finished. What was removed here is removed there,
marks first. Nothing else is removed: other hosts may write to the same directory.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dreamda_jax.data.files.fetched import Fetched, Object
from dreamda_jax.data.files.object_store import ObjectStore
from dreamda_jax.errors import UserError

_EVERY_SECONDS = 5.0
_CHECKPOINT_MARK = "_CHECKPOINT_METADATA"
_NEVER = re.compile(r"(^|/)(\.lock|\.dreamda-tmp)|orbax-checkpoint-tmp")  # locks, half files
_MARKS = (  # in the order in which they go up, after everything else
    re.compile(rf"(^|/)done/[^/]+\.json$|/{_CHECKPOINT_MARK}$|(^|/)progress\.json$"),
    re.compile(r"(^|/)(dataset_info|result|results|report|model_index)\.json$"),
)
_CHECKPOINTS = re.compile(r"(^|/)(checkpoints|best)/")
_STEP = re.compile(r"^(.*(?:checkpoints|best)/\d+)/")


class Mirror:
    """One run's directory here and there.

    Args:
      store: there.
      directory: here.

    Attributes:
      up_to_date: whether the last push brought everything there.
      fetched: which version of each object is here.
    """

    def __init__(self, store: ObjectStore, directory: Path) -> None:
        self.store, self.directory = store, directory
        self.fetched = Fetched(directory)
        self._sent: dict[str, tuple[int, int]] = {}  # size and time of what is the same there
        self._turn = threading.Lock()
        self.up_to_date = True

    def pull(
        self,
        wanted: Callable[[str], bool] = lambda name: True,
        *,
        announced: Callable[[dict[str, Object]], Iterable[str]] = iter,
    ) -> set[str]:
        """Brings here what the store has; of checkpoints only those whose upload had ended.

        Args:
          wanted: by name, what is needed here.
          announced: is given what has to be fetched, and yields the names while they are.

        Returns:
          Names of all that is there and wanted.

        Raises:
          UserError: the store cannot be reached or refuses, or the disk is full.
        """
        with self._turn:
            listed = self.store.list()
            names = {
                name: there
                for name, there in sorted(listed.items())
                if not _NEVER.search(name)
                and wanted(name)
                and not _is_half_a_checkpoint(name, listed)
            }
            behind = {n: there for n, there in names.items() if not self.fetched.has(n, there)}
            gone = set()
            for name in announced(behind):
                if self.store.get(name, self.directory / name):
                    self.fetched.add(name, names[name])
                else:  # removed since it was listed
                    gone.add(name)
            for name in names.keys() - gone:
                self._sent[name] = _state(self.directory / name)
            self.fetched.save()
            return names.keys() - gone

    def push(self) -> None:
        """Brings there what is new here, and removes there what was removed here.

        Raises:
          UserError: the store cannot be reached or refuses.
        """
        with self._turn:
            self.up_to_date = False
            # Marks are listed first: what they speak of is then in the list that comes after.
            ranks = {rank: self._files(rank) for rank in reversed(range(len(_MARKS) + 1))}
            for rank in range(len(_MARKS) + 1):
                for name, state in ranks[rank].items():
                    if self._sent.get(name) != state:
                        with contextlib.suppress(FileNotFoundError):  # removed since
                            self.fetched.add(name, self.store.put(self.directory / name, name))
                            self._sent[name] = state
            gone = [name for name in self._sent if not (self.directory / name).exists()]
            for name in sorted(gone, key=_rank, reverse=True):
                self.store.remove(name)
                del self._sent[name]
            self.fetched.save()
            self.up_to_date = True

    @contextlib.contextmanager
    def kept_up(self, every: float = _EVERY_SECONDS) -> Iterator[None]:
        """Pushes now and then in the background, and at the end, however it comes.

        Raises:
          UserError: what is here could not be brought there by the end; it is kept here.
        """
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(every):
                with contextlib.suppress(UserError):  # the last push says so if it stays that way
                    self.push()

        thread = threading.Thread(target=work, name="upload", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            try:
                self.push()
            except UserError as error:
                raise UserError(
                    f"{error}\nWhat was made and is not there yet is kept in {self.directory}, and "
                    "is taken from there if the same command runs on this machine again."
                ) from error

    def _files(self, rank: int) -> dict[str, tuple[int, int]]:
        found = {}
        for path in sorted(self.directory.rglob("*")):
            name = path.relative_to(self.directory).as_posix()
            if _rank(name) == rank and not _NEVER.search(name):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    if path.is_file():
                        found[name] = _state(path)
        return found


def is_no_checkpoint(name: str) -> bool:
    """Whether a file is none of a checkpoint, or its mark, which tells that there is one."""
    return not _CHECKPOINTS.search(name) or name.endswith(f"/{_CHECKPOINT_MARK}")


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _rank(name: str) -> int:
    """In which turn a file goes up: 0 is everything that is no mark."""
    for number, marks in reversed(list(enumerate(_MARKS, start=1))):
        if marks.search(name):
            return number
    return 0


def _is_half_a_checkpoint(name: str, names: dict[str, Object]) -> bool:
    step = _STEP.match(name)
    return step is not None and f"{step[1]}/{_CHECKPOINT_MARK}" not in names
