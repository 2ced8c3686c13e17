"""Computing elements ahead of their consumer by Grain, in threads or worker processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from absl import flags

T = TypeVar("T")


def read_ahead(
    make: Callable[[int], T],
    numbers: Sequence[int],
    *,
    num_workers: int,
    num_threads: int,
    prefetch: int,
) -> Generator[T, None, None]:
    """Yields `make` of each number in their order, computed ahead of the consumer.

    Closing the iterator early (`close()`, or leaving a `with contextlib.closing(...)`) stops the
    threads and worker processes. The result does not depend on `num_workers` or `num_threads`.

    Args:
      make: makes an element; pickled, with all that it holds, if there are workers.
      numbers: what it is given, one after the other.
      num_workers: processes; 0 works in threads of this process. Each takes seconds to start,
        since it imports Grain and the caller's main module afresh.
      num_threads: threads in each process.
      prefetch: how many elements to work on or hold ready, over all processes; at least one for
        each thread.

    Raises:
      ValueError: a negative number of workers or threads, or `prefetch` below 1.
      Exception: whatever `make` raises, in this process, at its element's turn.
    """
    if num_workers < 0 or num_threads < 0 or prefetch < 1:
        raise ValueError(
            "num_workers and num_threads must be at least 0 and prefetch at least 1, got "
            f"{num_workers}, {num_threads}, {prefetch}"
        )
    return _iterate(make, numbers, min(num_workers, len(numbers)), num_threads, prefetch)


def _iterate(
    make: Callable[[int], T],
    numbers: Sequence[int],
    num_workers: int,
    num_threads: int,
    prefetch: int,
) -> Generator[T, None, None]:
    if not len(numbers):
        return
    import grain  # brings orbax and scipy along: half a second that a wrong path need not cost

    # Grain warns of fewer than one for each thread.
    per_process = max(1, num_threads, prefetch // max(1, num_workers))
    elements = grain.MapDataset.source(numbers).map(make)
    dataset = elements.to_iter_dataset(
        grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=per_process)
    )
    if num_workers:
        # Grain reads one of its flags here and fails outside of an absl application (a notebook,
        # a test), where nobody has parsed them.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=1),
            _start_worker,
        )
        # Through the pipe rather than through shared memory: /dev/shm is 64 MB in a container by
        # default, and blocks there outlive a process that is killed.
        dataset = grain.experimental.WithOptionsIterDataset(
            dataset, grain.experimental.DatasetOptions(min_shm_size=2**62)
        )
    iterator = iter(dataset)
    try:
        yield from iterator
    finally:
        iterator.close()


def _start_worker(worker: int, count: int) -> None:
    """Runs first in every worker process."""
    del worker, count
    # Ctrl-C reaches the whole process group; the parent decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Without this, workers of a parent that was killed would wait for their queue for ever.
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
