"""The least time that a program can take: its operations or its memory traffic, whichever is more.

A bound and not a forecast. Nothing reaches both peaks, hosts and networks take time as well, and on
the other side a cache may spare a part of the traffic (Williams et al. 2009, doi
10.1145/1498765.1498785).
"""

from typing import NamedTuple


class Roofline(NamedTuple):
    """Of one call on one device.

    Attributes:
      compute_seconds: operations at the peak rate.
      memory_seconds: traffic at the full bandwidth; 0 where the traffic is not known.
    """

    compute_seconds: float
    memory_seconds: float

    @property
    def seconds(self) -> float:
        """The larger of both."""
        return max(self)

    @property
    def limited_by(self) -> str:
        """Which of them it is: "compute" or "memory"."""
        return "memory" if self.memory_seconds > self.compute_seconds else "compute"


class Duration(NamedTuple):
    """Of a whole job.

    Attributes:
      hours: from start to end.
      device_hours: times the devices.
    """

    hours: float
    device_hours: float

    def at(self, share: float) -> "Duration":
        """If only this share of the rate is reached."""
        return Duration(self.hours / share, self.device_hours / share)


def roofline(*, flops: float, memory_bytes: float, peak_flops: float, bandwidth: float) -> Roofline:
    """Of so many operations and bytes, at FLOP/s and bytes/s."""
    return Roofline(flops / peak_flops, memory_bytes / bandwidth)


def duration(seconds_per_call: float, *, calls: float, devices: int) -> Duration:
    """Of a job in which every device makes so many calls one after the other."""
    hours = seconds_per_call * calls / 3600
    return Duration(hours, hours * devices)
