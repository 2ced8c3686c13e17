"""The packaged sample: fashion20, real images that let the whole system run offline."""

import importlib.resources
import zipfile
from typing import SupportsIndex

import numpy as np

from dreamda_jax.data.sources.source import Example, checked_index, listing_fingerprint
from dreamda_jax.errors import UserError

_LABELLED = ("train", "validation", "test")
_UNLABELLED = "unlabeled"
_PADDING = 2  # 28x28 -> the 32x32 that the packaged model was trained on


class SampleSource:
    """One labelled split of the packaged fashion20 (Fashion-MNIST, 10 classes).

    `source[i].content` is uint8 [32, 32, 3]: the original 28x28 grey image with two black pixels
    on every side, repeated to three channels.

    Args:
      split: "train" (200 images), "validation" (1,000; the one to choose settings on) or "test"
        (5,000).

    Raises:
      UserError: a split that does not exist or has no labels; a damaged installation.
    """

    name = "fashion20"
    _splits: tuple[str, ...] = _LABELLED

    def __init__(self, *, split: str = "train"):
        if split == _UNLABELLED and split not in self._splits:
            raise UserError(
                f"The split {split!r} of the packaged sample has no labels, so it cannot be "
                f"expanded as a labelled set. Use one of: {', '.join(self._splits)}."
            )
        if split not in self._splits:
            raise UserError(
                f"The packaged sample has no split {split!r}. Use one of: "
                f"{', '.join(self._splits)}."
            )
        self._split = split
        resource = importlib.resources.files("dreamda_jax") / "sample" / "fashion20.npz"
        try:
            with resource.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                self._images = arrays[f"{split}_images"]
                if split == _UNLABELLED:
                    self.labels = np.zeros(len(self._images), np.int64)
                else:
                    self.labels = arrays[f"{split}_labels"]
                self._origins = arrays[f"{split}_index"]
                self.label_names = tuple(str(name) for name in arrays["label_names"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"The packaged sample {resource} cannot be read ({error}). The installation is "
                "incomplete: reinstall dreamda-jax (from a git checkout: `git lfs pull` if the "
                "file is a pointer, then `pip install .`)."
            ) from error

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: SupportsIndex) -> Example:
        place = checked_index(index, len(self))
        padded = np.pad(self._images[place], _PADDING)
        pixels = np.repeat(padded[:, :, None], 3, axis=2)
        return Example(place, self._name_of(place), int(self.labels[place]), pixels)

    def fingerprint(self) -> str:
        """Sha256 (hex) of the listing; see `sources.Source`."""
        return listing_fingerprint(
            {"source": self.name, "split": self._split, "label_names": list(self.label_names)},
            ((self._name_of(i), self.labels[i], None) for i in range(len(self))),
        )

    def _name_of(self, place: int) -> str:
        # The number is the image's place in the official Fashion-MNIST file.
        return f"{self.name}-{self._split}-{int(self._origins[place]):05d}"

    def __reduce__(self):
        # A worker process reads the file again; that is cheaper than sending the pixels through.
        return _reopen, (type(self), self._split)


class UnlabelledSample(SampleSource):
    """Any split of fashion20, its 2,000 images without labels ("unlabeled") too.

    The labels of that split are 0 and mean nothing: use it through `unlabelled.open_unlabelled`.
    """

    _splits = (_UNLABELLED, *_LABELLED)

    def __init__(self, *, split: str = _UNLABELLED):
        super().__init__(split=split)


def _reopen(kind: type[SampleSource], split: str) -> SampleSource:
    return kind(split=split)
