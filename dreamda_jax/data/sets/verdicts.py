"""What self-training thinks of each synthetic image, as one parquet file beside the data set.

A row per image. Edit it (with pandas, say) and train from it: `accepted` tells whether an image has
a label, `pseudo_label` which one; the columns of names are for reading only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dreamda_jax.data.files import atomic, json_text
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.data.sets.parquet_columns import first_line, lists, numbers
from dreamda_jax.errors import UserError

_KEY = b"dreamda_jax.verdicts"  # in the schema's metadata
_HEAD = "prediction_"
_COLUMNS = (  # that a reader cannot do without
    *("seed_id", "variant", "seed_label", "uncertainty"),
    *("accepted", "pseudo_label", "probabilities", "decoded"),
)
_AGAIN = "Delete it and run the command that made it again."


class Verdicts(NamedTuple):
    """Of n images, in the order of the synthetic set; c classes, k heads."""

    seed_id: np.ndarray
    """int64 [n]."""
    variant: np.ndarray
    """int64 [n]."""
    seed_label: np.ndarray
    """int32 [n], in [0, c): the class of the seed image."""
    predictions: np.ndarray
    """int32 [n, k], in [0, c): the class each head predicts; k may be 0."""
    uncertainty: np.ndarray
    """float32 [n]; NaN where the method has none."""
    accepted: np.ndarray
    """bool [n]."""
    pseudo_label: np.ndarray
    """int32 [n], in [0, c) where accepted, else -1."""
    probabilities: np.ndarray
    """float32 [n, c]: the soft label, the mean over the heads."""
    decoded: np.ndarray
    """bool [n]; False: the image could not be decoded, and is never accepted."""


_DTYPES: dict[str, Any] = {
    "seed_id": np.int64,
    "variant": np.int64,
    "seed_label": np.int32,
    "predictions": np.int32,
    "uncertainty": np.float32,
    "accepted": np.bool_,
    "pseudo_label": np.int32,
    "probabilities": np.float32,
    "decoded": np.bool_,
}


def concatenate(parts: Sequence[Verdicts]) -> Verdicts:
    """The verdicts of consecutive batches as one.

    Raises:
      ValueError: no parts, or parts of different numbers of heads or classes.
    """
    if not parts:
        raise ValueError("there are no verdicts to join, so no number of classes")
    return Verdicts(*map(np.concatenate, zip(*parts, strict=True)))


def write_verdicts(
    path: Path,
    verdicts: Verdicts,
    *,
    label_names: Sequence[str],
    head_names: Sequence[str],
    metadata: Mapping[str, Any],
) -> None:
    """Writes a parquet file, replacing an older one in one step.

    Args:
      path: of the file, in an existing directory.
      verdicts: as described there.
      label_names: c names.
      head_names: k different names; head "w1" becomes the column "prediction_w1".
      metadata: whatever JSON can hold, such as the method and its settings.

    Raises:
      ValueError: verdicts that are not as described.
      UserError: the disk is full.
    """
    _check_arrays(verdicts, num_classes=len(label_names), num_heads=len(head_names))
    if len(set(head_names)) < len(head_names):
        raise ValueError(f"two heads have the same name: {list(head_names)}")
    fault = _fault(verdicts)
    if fault:
        raise ValueError(fault)
    names = np.array([*label_names, None], object)  # the last for -1, no label
    columns: dict[str, Any] = {
        "seed_id": verdicts.seed_id,
        "variant": verdicts.variant,
        "seed_label": verdicts.seed_label,
        "seed_label_name": pa.array(names[verdicts.seed_label], pa.string()),
    }
    for head, predicted in zip(head_names, verdicts.predictions.T, strict=True):
        columns[_HEAD + head] = np.ascontiguousarray(predicted)
    columns |= {
        "uncertainty": pa.array(verdicts.uncertainty, from_pandas=True),  # NaN becomes null
        "accepted": verdicts.accepted,
        "pseudo_label": pa.array(verdicts.pseudo_label, mask=~verdicts.accepted),
        "pseudo_label_name": pa.array(names[verdicts.pseudo_label], pa.string()),
        "probabilities": pa.FixedSizeListArray.from_arrays(
            pa.array(verdicts.probabilities.ravel()), len(label_names)
        ),
        "decoded": verdicts.decoded,
    }
    header = {
        "label_names": list(label_names),
        "head_names": list(head_names),
        "metadata": dict(metadata),
    }
    table = pa.table(columns, metadata={_KEY: atomic.to_json(header, indent=None)})
    with (
        atomic.disk_full_is_a_user_error(path.parent, needed=table.nbytes),
        atomic.temporary(path) as scratch,
    ):
        pq.write_table(table, scratch, write_page_checksum=True)
        atomic.replace_durably(scratch, path)


def read_verdicts(path: Path) -> tuple[Verdicts, list[str], list[str], dict[str, Any]]:
    """Reads what `write_verdicts` wrote, also after someone edited it.

    `accepted` decides: where it is false, `pseudo_label` is not looked at. Rows may be missing or
    in another order; further columns do no harm. pandas loses the metadata: the class names then
    come from the columns of names, the head names from the columns' names.

    Returns:
      Verdicts, label names, head names, metadata (empty if it was lost).

    Raises:
      UserError: missing, damaged, not such a file, or edited into something that makes no sense.
    """
    try:
        with pq.ParquetFile(check_regular(path), page_checksum_verification=True) as file:
            table = file.read()
    except FileNotFoundError as error:
        raise UserError(
            f"There is no file of verdicts {path}. Give the path of one that self-training wrote."
        ) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(
            f"{path} cannot be read as parquet ({first_line(error)}). It is damaged or not a file "
            f"of verdicts. {_AGAIN}"
        ) from error
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise UserError(
            f"{path} has no column {', '.join(missing)}: it is not a file of verdicts, or columns "
            f"were removed. Give the file that self-training wrote, with all of its columns."
        )
    header = _header(path, table)
    heads = [name.removeprefix(_HEAD) for name in table.column_names if name.startswith(_HEAD)]
    if header and sorted(heads) != sorted(header["head_names"]):
        raise UserError(
            f"{path} should have a column {_HEAD}… for each of the heads {header['head_names']}, "
            f"but has {heads}. {_AGAIN}"
        )
    heads = header.get("head_names", heads)
    verdicts = _from_table(path, table, heads)
    label_names = header.get("label_names") or _names_from_columns(path, table, verdicts)
    if len(label_names) != verdicts.probabilities.shape[1]:
        raise UserError(
            f"{path} names {len(label_names)} classes, but its column probabilities has "
            f"{verdicts.probabilities.shape[1]} for each image. {_AGAIN}"
        )
    fault = _fault(verdicts)
    if fault:
        raise UserError(f"In {path}, {fault}. Correct that row and save the file again.")
    return verdicts, label_names, heads, header.get("metadata", {})


def _check_arrays(verdicts: Verdicts, *, num_classes: int, num_heads: int) -> None:
    n = len(verdicts.seed_id)
    width = {"predictions": (n, num_heads), "probabilities": (n, num_classes)}
    for name, values in verdicts._asdict().items():
        if values.shape != width.get(name, (n,)) or values.dtype != _DTYPES[name]:
            raise ValueError(
                f"{name} must be {np.dtype(_DTYPES[name])} {width.get(name, (n,))}, got "
                f"{values.dtype} {values.shape}"
            )


def _fault(verdicts: Verdicts) -> str:
    """The first row that contradicts itself, in words; empty if there is none."""
    num_classes = verdicts.probabilities.shape[1]

    def outside(labels: np.ndarray) -> np.ndarray:
        return (labels < 0) | (labels >= num_classes)

    kept = verdicts.accepted
    faults = {
        "is accepted but could not be decoded": kept & ~verdicts.decoded,
        f"is accepted but pseudo_label is no class 0 to {num_classes - 1}": kept
        & outside(verdicts.pseudo_label),
        "is not accepted but has a pseudo_label": ~kept & (verdicts.pseudo_label != -1),
        f"has a seed_label that is no class 0 to {num_classes - 1}": outside(verdicts.seed_label),
        f"has a prediction that is no class 0 to {num_classes - 1}": outside(
            verdicts.predictions
        ).any(axis=1),
    }
    for words, wrong in faults.items():
        if wrong.any():
            row = int(np.argmax(wrong))
            where = f"seed image {verdicts.seed_id[row]}, variant {verdicts.variant[row]}"
            return f"row {row} ({where}) {words}"
    return ""


def _header(path: Path, table: pa.Table) -> dict[str, Any]:
    try:
        header = json_text.parse((table.schema.metadata or {})[_KEY])
    except KeyError:  # saved by something that keeps the columns only
        return {}
    except ValueError as error:
        raise UserError(
            f"The metadata of {path} is damaged ({first_line(error)}). {_AGAIN}"
        ) from error
    return header


def _from_table(path: Path, table: pa.Table, heads: Sequence[str]) -> Verdicts:
    n = len(table)
    accepted = numbers(path, table, "accepted", pa.bool_())
    labels = numbers(path, table, "pseudo_label", pa.int32(), missing=-1)
    predictions = [numbers(path, table, _HEAD + head, pa.int32()) for head in heads]
    return Verdicts(
        seed_id=numbers(path, table, "seed_id", pa.int64()),
        variant=numbers(path, table, "variant", pa.int64()),
        seed_label=numbers(path, table, "seed_label", pa.int32()),
        predictions=np.stack(predictions, axis=1) if heads else np.zeros((n, 0), np.int32),
        uncertainty=numbers(path, table, "uncertainty", pa.float32(), missing=np.nan),
        accepted=accepted,
        pseudo_label=np.where(accepted, labels, np.int32(-1)),
        probabilities=lists(path, table, "probabilities"),
        decoded=numbers(path, table, "decoded", pa.bool_()),
    )


def _names_from_columns(path: Path, table: pa.Table, verdicts: Verdicts) -> list[str]:
    """Class names from the columns that hold them; the seeds' come first, edits are rare there."""
    names: dict[int, str] = {}
    for column, labels in (
        ("seed_label_name", verdicts.seed_label),
        ("pseudo_label_name", verdicts.pseudo_label),
    ):
        if column not in table.column_names:
            continue
        pairs = sorted(set(zip(labels.tolist(), table[column].to_pylist(), strict=True)), key=str)
        known = set(names)
        for label, name in pairs:
            if label < 0 or name is None or label in known:
                continue
            if label in names:
                raise UserError(
                    f"In {path}, class {label} is called both {names[label]!r} and {name!r} in the "
                    f"column {column}, and the file has lost its metadata with the class names. "
                    "Correct that column and save the file again."
                )
            names[label] = name
    num_classes = verdicts.probabilities.shape[1]
    unnamed = [label for label in range(num_classes) if label not in names]
    if unnamed:
        shown = ", ".join(map(str, unnamed[:10])) + (", …" if len(unnamed) > 10 else "")
        raise UserError(
            f"{path} has lost its metadata, and no row names the class {shown}. pandas drops the "
            "metadata: save the edited table with pyarrow.Table.from_pandas(table)"
            ".replace_schema_metadata(pyarrow.parquet.read_schema(ORIGINAL).metadata) and "
            "pyarrow.parquet.write_table, or keep rows of every class."
        )
    return [names[label] for label in range(num_classes)]
