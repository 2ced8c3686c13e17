"""Text embeddings by prompt: each encoded once, ahead of the batch that needs it."""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

import numpy as np

_CAPACITY = 4096  # 1 GB of Stable Diffusion 1.5's, in float32


class Embeddings:
    """Encodes prompts on the devices and keeps the latest of them on the host.

    A request returns at once: fetching a result would wait for every batch that is queued before
    it, and the devices would have nothing to do meanwhile.

    Args:
      encode: `encode(prompts)` starts encoding at most `prompts_per_call` of them and returns a
        function that waits for the result, [prompts_per_call, l, d].
      prompts_per_call: the one size `encode` is compiled for.
      capacity: how many embeddings to keep.
    """

    def __init__(
        self,
        encode: Callable[[list[str]], Callable[[], np.ndarray]],
        *,
        prompts_per_call: int,
        capacity: int = _CAPACITY,
    ) -> None:
        self._encode, self._size, self._capacity = encode, prompts_per_call, capacity
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()  # least recently used first
        self._coming: deque[tuple[list[str], Callable[[], np.ndarray]]] = deque()

    def request(self, prompts: Sequence[str]) -> None:
        """Starts encoding those that are neither known nor on their way."""
        coming = {prompt for chunk, _ in self._coming for prompt in chunk}
        missing = [p for p in dict.fromkeys(prompts) if p not in self._known and p not in coming]
        for start in range(0, len(missing), self._size):
            chunk = missing[start : start + self._size]
            self._coming.append((chunk, self._encode(chunk)))

    def get(self, prompts: Sequence[str]) -> dict[str, np.ndarray]:
        """The embeddings of `prompts`, each [l, d]; waits for those on their way."""
        self.request(prompts)
        wanted = set(prompts)
        while wanted - self._known.keys():  # what is left was requested for a later batch
            chunk, fetch = self._coming.popleft()
            self._known.update(zip(chunk, fetch(), strict=False))
        found = {prompt: self._known[prompt] for prompt in prompts}
        for prompt in found:
            self._known.move_to_end(prompt)
        while len(self._known) > max(self._capacity, len(found)):
            self._known.popitem(last=False)
        return found
