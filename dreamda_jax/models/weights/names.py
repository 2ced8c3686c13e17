"""One spelling for the names that PyTorch and Flax give a tensor, so that the rules stay generic.

`down_blocks.0.attentions.0` and `down_blocks_0/attentions_0`, CLIP's `layers.0` and `layers/0`;
`weight` and `kernel`, `scale`, `embedding`; the VAE's attention under its old names (`query`,
`key`, `value`, `proj_attn`) and its new ones (`to_q`, `to_k`, `to_v`, `to_out.0`).
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Old names of the VAE's attention, which its Flax class kept, and the new ones."""

LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}
"""Flax's names of a layer's weights, and PyTorch's."""

Path = tuple[str, ...]

_INDEX = re.compile(r"_(\d+)(?=\.|$)")
_IGNORED = re.compile(r"(^|\.)position_ids$")  # a buffer of old CLIP checkpoints, not a weight
# What torch.compile, DistributedDataParallel and peft put into the names of what they wrap.
_WRAPPERS = re.compile(r"(^|(?<=\.))(_orig_mod|module|base_layer)\.")


class Leeway(NamedTuple):
    """How a file may differ from the network that is loaded from it."""

    prefix: str = ""
    """What the network's names begin with and a file's need not, such as "text_model."."""
    extras: tuple[str, ...] = ()
    """Beginnings of the names of what else a file may hold; it is not read."""

    def allows(self, name: str) -> bool:
        """Whether a tensor that the network has not may be there."""
        return plain(name).startswith(self.extras)


class Matcher:
    """Finds the parameter that a name in a file stands for."""

    def __init__(self, expected: Iterable[Path], leeway: Leeway) -> None:
        """Take the Flax paths of the parameters.

        Raises:
            ValueError: two of them have one canonical name.
        """
        paths = list(expected)
        self._wanted = {canonical(".".join(path)): path for path in paths}
        if len(self._wanted) != len(paths):
            raise ValueError("two expected parameters share one canonical name")
        self._leeway = leeway

    def find(self, name: str) -> Path | None:
        """The parameter's Flax path, or None."""
        for spelling in (name, plain(name), self._leeway.prefix + plain(name)):
            if path := self._wanted.get(canonical(spelling)):
                return path
        return None

    def ignores(self, name: str) -> bool:
        """Whether a tensor without a parameter may be there."""
        return bool(_IGNORED.search(name)) or self._leeway.allows(name)


def plain(name: str) -> str:
    """A tensor's name without what wrappers of a network put into it."""
    return _WRAPPERS.sub("", name)


def canonical(name: str) -> str:
    """The one spelling of a name, with dots between its parts."""
    *modules, leaf = _INDEX.sub(r".\1", name).split(".")
    if modules:
        modules[-1] = VAE_ATTENTION.get(modules[-1], modules[-1])
    return ".".join([*modules, LEAVES.get(leaf, leaf)])


def some(names: Sequence[str], limit: int = 4) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
