"""The header with which a server says when to come back (RFC 9110, 10.2.3)."""

import email.utils
import math


def seconds_to_wait(header: str | None, now: float) -> float | None:
    """Seconds from now on; None if the header is absent or says nothing that can be read.

    Args:
      header: seconds, or a date.
      now: seconds since the epoch.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
