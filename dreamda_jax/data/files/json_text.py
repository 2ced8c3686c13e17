"""JSON that somebody else may have written: whatever is wrong with it is one kind of error."""

import json
from typing import Any


def parse(text: bytes | str, **options: Any) -> Any:
    """What `json.loads` gives.

    Args:
      text: a whole file, or a line of one.
      **options: of `json.loads`.

    Raises:
      ValueError: it is not UTF-8 or not JSON, or nested so deeply that Python's parser gives up,
        which by itself raises RecursionError.
    """
    try:
        return json.loads(text, **options)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
