"""The interface of whoever writes descriptions: a chat endpoint, or word lists."""

import dataclasses
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Ask:
    """One request for descriptions of one class.

    Attributes:
      class_name: as the source has it.
      spoken: as it reads in a sentence.
      count: how many are wanted, at least 1.
      accepted: those of the class that are there already, oldest first.
      refused: what was wrong with descriptions of the request before, in words.
      misses: requests in a row for this class of which nothing could be used.
    """

    class_name: str
    spoken: str
    count: int
    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    misses: int = 0


class Writer(Protocol):
    """Writes descriptions; whether they are of use is for others to say."""

    @property
    def record(self) -> dict[str, str]:
        """Who wrote, for every line of the output: `{"writer": …, "model": …}`."""

    def write(self, ask: Ask) -> list[str] | None:
        """Descriptions: fewer or more than asked for, good or not.

        Returns:
          None if the job was asked to stop before they came.

        Raises:
          UserError: there is no use in asking again.
        """
