"""Checkpoints of a training: the only home of orbax.

Orbax writes a step under a temporary name and renames it, so a step that is there was written
whole. What it does not notice is a byte that changed afterwards inside an uncompressed array, so a
sum over the bits of every array is stored with it and compared on reading.
"""

import contextlib
import errno
import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from etils import epath

from dreamda_jax.data.files import atomic, staging
from dreamda_jax.errors import UserError
from dreamda_jax.runtime import agreement, devices

_ANOTHER_NETWORK = "of another network or optimizer"
# Of tensorstore and XLA, which pass on the system's words.
_OF_THIS_MACHINE = (
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED"),
    *map(os.strerror, (errno.EACCES, errno.EPERM, errno.EIO, errno.ENOMEM, errno.EMFILE)),
    *map(os.strerror, (errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT)),
)


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


# Orbax logs pages about every failure, and raises it as well.
absl_logging.get_absl_logger().addFilter(_is_not_orbax)


class Checkpoints:
    """The newest checkpoints of one training, in one directory.

    Args:
      directory: made with its parents if absent.
      keep: how many of the newest steps stay; with two, a damaged newest one loses one interval.
    """

    def __init__(self, directory: Path, *, keep: int = 2) -> None:
        self._directory = _shared(Path(directory).absolute())  # orbax refuses relative paths
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            # Two directories may be written at the same time: their barriers must not meet.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                barrier_sync_key_prefix=self._directory.name
            ),
        )
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=options,
            # Named, or orbax infers from the newest step what all of them hold: an empty directory
            # would make the whole ones unreadable.
            item_handlers=ocp.StandardCheckpointHandler(),
        )
        self._bytes = 0  # of a state

    def save(self, step: int, state: Any) -> None:
        """Copies the state off the devices and writes it in the background.

        A step that is there already is left as it is: the same step of the same training.

        Raises:
          UserError: the disk is full, which may be noticed at the next call only.
        """
        if step not in self._manager.all_steps():
            content = {"state": state, "checksums": np.asarray(_checksums(state))}
            self._bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
            with self._disk_full_is_a_user_error():  # of this step, or of the one before
                self._manager.save(step, args=ocp.args.StandardSave(content))

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """The newest undamaged checkpoint; newer ones, damaged, are reported and removed.

        Args:
          like: a state of the same structure, shapes, dtypes and shardings; arrays or
            `jax.ShapeDtypeStruct`s with shardings.

        Returns:
          (step, state), or None where there is no checkpoint.

        Raises:
          UserError: there are checkpoints, and every one is damaged; or one is whole and cannot be
            read now, or belongs to another network. Nothing is removed then.
        """
        self.wait()
        steps = sorted(self._manager.all_steps(), reverse=True)
        damaged: list[str] = []
        for step in steps:
            state, reason = self._try(step, like)
            if not agreement.all_of(not reason):
                reason = reason or "another process cannot read it"
                damaged.append(f"{self._directory / str(step)}: {reason}")
                continue
            for line, old in zip(damaged, steps, strict=False):
                print(f"damaged     {line}; removed, going on from step {step:,}", flush=True)
                self._manager.delete(old)
            return step, state
        if any(_ANOTHER_NETWORK in line for line in damaged):
            raise UserError(
                "No checkpoint of this run fits what is trained now:\n  "
                + "\n  ".join(damaged)
                + "\nContinue it with the version and the settings that began it, or give another "
                "output directory."
            )
        if damaged:
            raise UserError(
                "Every checkpoint of this run is damaged:\n  " + "\n  ".join(damaged) + "\n"
                "Put back a copy of one of them, if there is one. To train again from the start, "
                f"remove {self._directory}."
            )
        return None

    def wait(self) -> None:
        """Returns when everything saved so far is on the disk.

        Raises:
          UserError: the disk is full.
        """
        with self._disk_full_is_a_user_error():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends orbax's threads.

        Raises:
          UserError: the disk is full.
        """
        try:
            self.wait()
        finally:
            self._manager.close()

    def _disk_full_is_a_user_error(self) -> contextlib.AbstractContextManager[None]:
        return atomic.disk_full_is_a_user_error(self._directory, needed=self._bytes)

    def _try(self, step: int, like: Any) -> tuple[Any, str]:
        """(state, ""), or what is wrong; a `UserError` if that is not in the checkpoint."""
        where = self._directory / str(step)
        with _quiet():
            try:
                if not any(where.iterdir()):
                    return None, "an empty directory"
                stored, wanted = self._stored(step), _described({"state": like})
                if stored and stored != wanted:
                    differing = min(name for name, _ in stored.items() ^ wanted.items())
                    return None, f"{_ANOTHER_NETWORK} ({differing})"
                return self._read(step, like), ""
            except Exception as error:  # orbax raises whatever the broken part of it raises
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
                if _is_of_this_machine(error):
                    raise UserError(
                        f"{where} cannot be read: {reason}. Mend that and run the same command "
                        "again: it continues."
                    ) from error
            # Its unfinished tasks complain when they are collected: now.
            gc.collect()
        return None, reason

    def _stored(self, step: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of every array of a step's state, by name; {} where it does not say."""
        try:
            tree = self._manager.item_metadata(step).tree
            return _described({"state": tree["state"]})
        except Exception:  # damaged
            return {}

    def _read(self, step: int, like: Any) -> Any:
        sums = jax.eval_shape(_checksums, like)
        # Of what has no sharding here orbax would ask for the devices that it was saved on.
        template = {
            "state": jax.tree.map(_abstract, like),
            "checksums": np.empty(sums.shape, sums.dtype),
        }
        content = self._manager.restore(step, args=ocp.args.StandardRestore(template))
        sums = np.asarray(_checksums(content["state"]))
        if not np.array_equal(sums, np.asarray(content["checksums"])):
            raise ValueError("the checksums of its arrays do not match")
        return content["state"]


def _shared(directory: Path) -> Any:
    """Where all processes of a job write; what stands for an address here is each one's own."""
    address = staging.address_of(directory) if devices.process_count() > 1 else None
    return directory if address is None else epath.Path(address.removeprefix("file://"))


@jax.jit
def _checksums(state: Any) -> jax.Array:
    """uint32 [number of arrays]: the sum of each array's bits, modulo 2^32.

    Whole numbers add up to the same on any number of devices, in any order.
    """

    def bits(leaf: jax.Array) -> jax.Array:
        words = jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}")
        return jnp.sum(words.astype(jnp.uint32), dtype=jnp.uint32)

    return jnp.stack([bits(leaf) for leaf in jax.tree.leaves(state)])


def _described(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    flat = ocp.tree.to_flat_dict(tree, sep=".")
    return {
        name: (tuple(leaf.shape), str(np.dtype(leaf.dtype)))
        for name, leaf in flat.items()
        if hasattr(leaf, "shape")
    }


def _is_of_this_machine(error: Exception) -> bool:
    """Whether the reason lies in rights, memory or the disk, and not in the checkpoint."""
    if isinstance(error, (MemoryError, PermissionError)):
        return True
    return any(words in str(error) for words in _OF_THIS_MACHINE)


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what orbax's unfinished tasks complain of, when a read has failed, off the screen."""
    logger, hook = logging.getLogger("asyncio"), sys.unraisablehook
    before, logger.disabled = logger.disabled, True
    sys.unraisablehook = lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="coroutine .* was never awaited")
            yield
    finally:
        logger.disabled, sys.unraisablehook = before, hook
