"""A prediction for every image of a set, in its order, resumable portion by portion."""

import contextlib
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamda_jax.data import sources
from dreamda_jax.data.files import atomic
from dreamda_jax.data.sources.subset import Subset
from dreamda_jax.runtime import devices, program_notes
from dreamda_jax.runtime.heartbeat import Compiling
from dreamda_jax.runtime.progress import Progress
from dreamda_jax.runtime.sweep import View

_PORTION = 2048  # images; a stop loses less than one

Predict = Callable[[jax.Array, jax.Array], dict[str, jax.Array]]
"""`predict(images, places)`: arrays [b, ...] of uint8 images [b, h, w, 3] and their places in the
set, int32 [b]."""


def sweep(
    mesh: jax.sharding.Mesh,
    source: sources.Source,
    predict: Predict,
    *,
    view: View,
    directory: Path,
    stop: threading.Event,
    note: str,
    notes: program_notes.ProgramNotes = program_notes.NONE,
) -> dict[str, np.ndarray] | None:
    """Runs every image of a set through `predict`.

    Args:
      mesh: whose devices share each batch.
      source: the set.
      predict: compiled, over global batches. An image's result may depend on its place alone.
      view: how images are read.
      directory: where finished portions lie until the whole is done; made if absent.
      stop: ends it between two batches.
      note: shown in the progress.
      notes: of the program.

    Returns:
      Arrays [n, ...] by name: those of `predict`, with "labels" int32 and "decoded" bool (False:
      the image cannot be decoded, and its rows mean nothing). None if `stop` was set.
    """
    directory.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(source), _PORTION)
    files = [directory / f"{start:09d}.npz" for start in starts]
    known = [_read(file) for file in files]
    compiling = Compiling(f"the predictions of {note}", notes)
    done = sum(len(portion["labels"]) for portion in known if portion)
    with contextlib.closing(Progress(len(source), done=done)) as progress:
        for place, start in enumerate(starts):
            if known[place] is not None:
                continue
            part = Subset(source, range(start, min(start + _PORTION, len(source))))
            made: list[dict[str, np.ndarray]] = []
            with contextlib.closing(view.batches(part)) as batches:
                for batch in batches:
                    if stop.is_set():
                        return None
                    with compiling():
                        made.append(_predicted(mesh, predict, batch, start))
                    progress.add(len(made[-1]["labels"]), note=note)
                    for message in batch.broken:
                        print(f"left out    {message}", flush=True)
            if progress.seconds_each is not None:
                notes.put(seconds_each=progress.seconds_each)
            known[place] = joined = _join(made)
            if devices.process_index() == 0:
                _write(files[place], joined)
    return _join([portion for portion in known if portion is not None])


def _predicted(
    mesh: jax.sharding.Mesh, predict: Predict, batch: Any, start: int
) -> dict[str, np.ndarray]:
    places = np.where(batch.index >= 0, batch.index + start, 0).astype(np.int32)
    images, places_, labels, mask, index = devices.global_rows(
        mesh, (batch.images, places, batch.labels, batch.mask, batch.index.astype(np.int32))
    )
    arrays = {**predict(images, places_), "labels": labels, "decoded": mask}
    host = devices.to_host({**arrays, "index": index})
    real = host.pop("index") >= 0  # the last batch is padded
    return {name: array[real] for name, array in host.items()}


def _join(portions: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([portion[name] for portion in portions]) for name in portions[0]}


def _write(file: Path, portion: dict[str, np.ndarray]) -> None:
    content = io.BytesIO()
    np.savez(content, **portion)  # type: ignore[arg-type]
    with atomic.disk_full_is_a_user_error(file.parent, needed=content.tell()):
        atomic.write_atomically(file, content.getvalue())


def _read(file: Path) -> dict[str, np.ndarray] | None:
    if not file.exists():
        return None
    with np.load(file) as arrays:
        return dict(arrays)


def remove(directory: Path) -> None:
    """Removes the portions of a sweep whose result is kept elsewhere."""
    for file in directory.glob("*.npz"):
        file.unlink()
    with contextlib.suppress(OSError):
        directory.rmdir()
