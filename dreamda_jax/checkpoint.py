"""Checkpoints of a training: the only home of orbax.

Orbax writes a step under a temporary name and renames it, so a step that is there was written
whole. What it does not notice is a byte that changed afterwards inside an uncompressed array, so a
sum over the bits of every array is stored with it and compared on reading.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from dreamda_jax.errors import UserError

_LOG = logging.getLogger(__name__)


class Checkpoints:
    """The newest checkpoints of one training, in one directory.

    Args:
      directory: made with its parents if absent.
      keep: how many of the newest steps stay; with two, a damaged newest one loses one interval.
    """

    def __init__(self, directory: Path, *, keep: int = 2) -> None:
        self._directory = Path(directory).absolute()  # orbax refuses relative paths
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def save(self, step: int, state: Any) -> None:
        """Copies the state off the devices and writes it in the background.

        A step that is there already is left as it is: the same step of the same training.
        """
        if step not in self._manager.all_steps():
            content = {"state": state, "checksums": _checksums(state)}
            self._manager.save(step, args=ocp.args.StandardSave(content))

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """The newest undamaged checkpoint; damaged ones are reported and removed.

        Args:
          like: a state of the same structure, shapes, dtypes and shardings; arrays or
            `jax.ShapeDtypeStruct`s with shardings.

        Returns:
          (step, state), or None where there is no checkpoint.

        Raises:
          UserError: there are checkpoints, and every one is damaged; or the newest was saved on
            another number of devices, which orbax does not read here.
        """
        self.wait()
        steps = sorted(self._manager.all_steps(), reverse=True)
        damaged: list[str] = []
        for step in steps:
            try:
                state = self._read(step, like)
            except Exception as error:  # orbax raises whatever the broken part of it raises
                if "Topology mismatch" in str(error):  # sound, and not to be removed
                    raise UserError(
                        f"{self._directory / str(step)} was saved on another number of devices. "
                        "Continue on as many as before."
                    ) from error
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
                damaged.append(f"{self._directory / str(step)}: {reason}")
                continue
            for line, old in zip(damaged, steps, strict=False):
                _LOG.warning("damaged checkpoint removed, going on from step %d: %s", step, line)
                self._manager.delete(old)
            return step, state
        if damaged:
            raise UserError(
                "Every checkpoint of this run is damaged:\n  " + "\n  ".join(damaged) + "\n"
                f"Remove {self._directory} to train it again from the start."
            )
        return None

    def wait(self) -> None:
        """Returns when everything saved so far is on the disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends orbax's threads."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _read(self, step: int, like: Any) -> Any:
        template = {"state": like, "checksums": jax.eval_shape(_checksums, like)}
        with _quiet():
            content = self._manager.restore(
                step, args=ocp.args.StandardRestore(jax.tree.map(_abstract, template))
            )
        sums = np.asarray(_checksums(content["state"]))
        if not np.array_equal(sums, np.asarray(content["checksums"])):
            raise ValueError("the checksums of its arrays do not match")
        return content["state"]


@jax.jit
def _checksums(state: Any) -> jax.Array:
    """uint32 [number of arrays]: the sum of each array's bits, modulo 2^32.

    Whole numbers add up to the same on any number of devices, in any order.
    """

    def bits(leaf: jax.Array) -> jax.Array:
        words = jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}")
        return jnp.sum(words.astype(jnp.uint32), dtype=jnp.uint32)

    return jnp.stack([bits(leaf) for leaf in jax.tree.leaves(state)])


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps orbax's own account of a damaged checkpoint, pages of it, off the screen."""
    before = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.FATAL)
    try:
        yield
    finally:
        absl_logging.set_verbosity(before)
