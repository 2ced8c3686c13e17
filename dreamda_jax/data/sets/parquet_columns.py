"""Columns of a parquet file as numpy arrays, whatever types an editor gave them on the way."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamda_jax.errors import UserError


def numbers(
    path: Path, table: pa.Table, name: str, wanted: pa.DataType, missing: float | None = None
) -> np.ndarray:
    """A column of numbers or truth values.

    pandas makes float64 of whole numbers where some are missing; values must not change.

    Args:
      path: of the file, for messages.
      table: what it holds.
      name: of the column, which the table has.
      wanted: the type to convert to.
      missing: what stands for a missing value; None: none may be missing.

    Raises:
      UserError: values that cannot be converted, or missing ones.
    """
    column = table[name]
    try:
        if missing is None and column.null_count:
            raise ValueError(f"{column.null_count} values are missing")
        column = column.cast(wanted)
        if missing is not None:
            column = column.fill_null(missing)
        return np.array(column.to_numpy())  # our own memory: Arrow's cannot be written to
    except (ValueError, pa.ArrowException) as error:
        raise UserError(
            f"The column {name} of {path} cannot be read as {wanted} ({first_line(error)}). "
            "Correct it and save the file again."
        ) from error


def lists(path: Path, table: pa.Table, name: str) -> np.ndarray:
    """A column of equally long lists of numbers, of a type of fixed length or not.

    Args:
      path: of the file, for messages.
      table: what it holds.
      name: of the column, which the table has.

    Returns:
      float32 [n, length]; [0, 0] of a table without rows whose type does not tell the length.

    Raises:
      UserError: no lists, of different lengths, missing ones or missing numbers in them.
    """
    rows = table[name]
    try:
        if pa.types.is_fixed_size_list(rows.type):
            lengths = {rows.type.list_size}
        elif pa.types.is_list(rows.type) or pa.types.is_large_list(rows.type):
            lengths = set(pc.list_value_length(rows).to_pylist())
        else:
            raise ValueError(f"it holds {rows.type}")
        if len(lengths) > 1 or rows.null_count:
            raise ValueError("they differ in length or are missing")
        flat = [chunk.flatten() for chunk in rows.chunks]
        if any(chunk.null_count for chunk in flat):
            raise ValueError("there are missing numbers")
        values = [chunk.cast(pa.float32()).to_numpy(zero_copy_only=False) for chunk in flat]
        joined = np.concatenate([np.zeros(0, np.float32), *values])
        return joined.reshape(len(rows), lengths.pop() if lengths else 0)
    except (ValueError, pa.ArrowException) as error:
        raise UserError(
            f"The column {name} of {path} should have a list of numbers in each row "
            f"({first_line(error)}). Correct it and save the file again."
        ) from error


def first_line(error: BaseException) -> str:
    """Of an error's message; Arrow's go on with where in its source it was raised."""
    return (str(error).splitlines() or [type(error).__name__])[0]
