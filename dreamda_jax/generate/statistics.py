"""What a run of the engine did, and how long the devices waited for it."""

import dataclasses

import numpy as np


@dataclasses.dataclass
class Statistics:
    """What a run did.

    Attributes:
      images: how many it made.
      kept: of them, those in shards that it finished.
      batches: in how many calls of the program.
      seconds: from the first batch's end to the last one's, so without compilation.
      device_wait_seconds: of these, how long the devices had nothing to do.
      images_in_seconds: images made in `seconds`.
      mean_square: sum over batches of the squared RMS at the perturbed site.
      enlarged: seed images that were smaller than the target size.
      narrow: seed images that use under an eighth of the range from black to white.
    """

    images: int = 0
    kept: int = 0
    batches: int = 0
    seconds: float = 0.0
    device_wait_seconds: float = 0.0
    images_in_seconds: int = 0
    mean_square: float = 0.0
    enlarged: int = 0
    narrow: int = 0

    @property
    def site_rms(self) -> float:
        """RMS of the features that the noise was added to, over the whole run."""
        return float(np.sqrt(self.mean_square / max(self.batches, 1)))

    @property
    def device_wait_share(self) -> float:
        """Share of `seconds` in which the devices waited for the host."""
        return self.device_wait_seconds / self.seconds if self.seconds else 0.0
