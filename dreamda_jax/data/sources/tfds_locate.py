"""Finding a prepared TFDS set on disk, and saying what to do when it is not there."""

import difflib
import os
import re
import shlex
from typing import Any

from etils import epath

from dreamda_jax.errors import UserError


def find_directory(name: str, data_dir: str | None) -> str:
    """The directory of a prepared set, the one that holds its dataset_info.json.

    Args:
      name: as `tfds.builder` takes it, or "" if `data_dir` is the directory itself.
      data_dir: where prepared sets are kept, the directory of one set, or None for TFDS's default.

    Raises:
      UserError: unknown name (the nearest ones are suggested), or not prepared (the commands that
        prepare it are given).
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)
        if (epath.Path(data_dir) / "dataset_info.json").exists():
            _check_same_set(tfds, name, data_dir)
            return data_dir
    if not name:
        raise UserError(
            f"No dataset_info.json in {data_dir}, so it is not itself a prepared TFDS set. Give "
            "the set's name too, or the directory that holds that file."
            if data_dir
            else "Set the name of the TFDS data set, e.g. name='oxford_iiit_pet'."
        )
    if re.match(r"\w+:[a-z_]", name):
        raise UserError(
            f"{name!r} is a community data set; those cannot be read by random access. Export its "
            "images to a folder and open that (kind 'folder')."
        )
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except DatasetNotFoundError as error:
        raise UserError(
            f"TFDS knows no data set {name!r}{_similar(tfds, name)}. Names are listed at "
            "https://www.tensorflow.org/datasets/catalog. For images of your own use kind 'folder'."
        ) from error
    except ImportError as error:  # a few builders need tensorflow even to be constructed
        raise UserError(
            f"The TFDS builder of {name!r} needs a package that is not installed ({error}). If "
            "the set is already prepared, give its own directory as data_dir."
        ) from error
    except (ValueError, AssertionError, RuntimeError) as error:  # name, config, version
        raise UserError(f"TFDS cannot open {name!r}: {first_line(error)}") from error
    directory = os.fspath(builder.data_dir)
    if not (epath.Path(directory) / "dataset_info.json").exists():
        raise UserError(_how_to_prepare(tfds, name, data_dir, directory))
    return directory


def _check_same_set(tfds: Any, name: str, directory: str) -> None:
    wanted = re.split(r"[/:]", name)[0]
    try:
        found = tfds.builder_from_directory(directory).name
    except Exception:  # reported, with more words, by the caller
        return
    if wanted and wanted != found:
        raise UserError(
            f"{directory} holds the TFDS data set {found!r}, not {wanted!r}. Leave the name out or "
            "mend data_dir."
        )


def _how_to_prepare(tfds: Any, name: str, data_dir: str | None, directory: str) -> str:
    place = f" --data_dir={shlex.quote(data_dir)}" if data_dir else ""
    argument = f", data_dir={data_dir!r}" if data_dir else ""
    older = ""
    versions = epath.Path(directory).parent
    if versions.exists():
        found = sorted(p.name for p in versions.iterdir() if (p / "dataset_info.json").exists())
        if found:
            base = name.split(":")[0]
            older = f"\nPrepared there is another version: use the name {base + ':' + found[-1]!r}."
    code = (
        f"import tensorflow_datasets as tfds; tfds.builder({name!r}{argument}, "
        "file_format='array_record').download_and_prepare()"
    )
    return (
        f"The TFDS data set {name!r} is not prepared: no {directory}/dataset_info.json. Preparing "
        "it downloads the data and needs tensorflow, once:\n"
        "  pip install 'dreamda-jax[prepare]'\n"
        f"  tfds build {name} --file_format=array_record{place}\n"
        f"or, from Python:\n  python -c {shlex.quote(code)}\n"
        f"Prepared sets are looked for in data_dir (--config.source.data_dir=DIR).{older}"
    )


def check_random_access(builder: Any, directory: str) -> None:
    """Checks that the set is stored in a format that can be read in any order.

    Args:
      builder: what `tfds.builder_from_directory(directory)` returned.
      directory: named in the message.

    Raises:
      UserError: it is not (TFDS's default, tfrecord); says how to convert it.
    """
    stored = {file_format.value for file_format in builder.info.available_file_formats()}
    if stored & {"array_record", "parquet"}:
        return
    target = directory.rstrip("/") + "_array_record"
    raise UserError(
        f"{directory} is stored as {' and '.join(sorted(stored)) or 'an unknown format'}, which "
        "cannot be read by random access. Convert it (needs tensorflow, once):\n"
        "  pip install 'dreamda-jax[prepare]'\n"
        f"  tfds convert_format --dataset_dir={shlex.quote(directory)} "
        f"--out_file_format=array_record --out_dir={shlex.quote(target)}\n"
        f"and give data_dir={target!r}; or prepare it anew into another data_dir:\n"
        f"  tfds build {builder.name} --file_format=array_record --data_dir=..."
    )


def _similar(tfds: Any, name: str) -> str:
    known = tfds.list_builders(with_community_datasets=False)
    base = re.split(r"[/:]", name.lower())[0]
    stem = base.rstrip("s")
    matches = difflib.get_close_matches(base, known, n=3)
    matches += [other for other in known if len(stem) >= 3 and stem in other.split("_")]
    matches = list(dict.fromkeys(matches))[:4]
    return f" (did you mean {' or '.join(map(repr, matches))}?)" if matches else ""


def first_line(error: Exception) -> str:
    """The first line of an error's message; TFDS adds pages of context."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
