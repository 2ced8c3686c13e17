"""The records of one split of a prepared TensorFlow Datasets set, their images undecoded."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from dreamda_jax.data.sources.labels import slug
from dreamda_jax.data.sources.source import nearest
from dreamda_jax.data.sources.tfds_locate import check_random_access, first_line
from dreamda_jax.errors import UserError

# Only what the functions need is imported there: tensorflow_datasets takes seconds.


def open_builder(directory: str) -> Any:
    """TFDS's builder of a prepared set.

    It reads by what is stored beside the data (features.json), never by the builder's code, which
    may have moved on since the set was prepared.

    Raises:
      UserError: it is no such set.
    """
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(directory)
    except Exception as error:  # TFDS documents no types here
        raise UserError(
            f"{directory} is not a readable TFDS data set ({first_line(error)}). It needs "
            "dataset_info.json and features.json; prepare or copy it again."
        ) from error


def check_split(builder: Any, directory: str, split: str) -> None:
    """Makes sure that the records of a split can be read by their place.

    Raises:
      UserError: there is no such split, it is empty, or its format has no random access.
    """
    check_random_access(builder, directory)
    info, splits = builder.info, list(builder.info.splits)
    try:
        examples = info.splits[split].num_examples
    except Exception as error:
        raise UserError(
            f"{info.full_name} has no split {split!r}{nearest(str(split), splits)}. Its splits: "
            f"{', '.join(splits)}; slices such as '{splits[0] if splits else 'train'}[:10%]' work."
        ) from error
    if not examples:
        raise UserError(f"The split {split!r} of {info.full_name} is empty.")


@contextlib.contextmanager
def packages_are_there(builder: Any, directory: str) -> Iterator[None]:
    """Turns a missing package into words: some formats need one of their own.

    Raises:
      UserError: one is missing.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{directory} is stored as {builder.info.file_format}, and reading that needs a "
            f"package that is not installed: {error}."
        ) from error


class TfdsRecords:
    """A split's records by their place, images as they were stored.

    Args:
      directory: of the prepared set.
      split: or a slice of one.

    Attributes:
      info: what TFDS knows of the set.
      name: of the set, as a part of file names.
      files: that hold records.
    """

    def __init__(self, directory: str, split: str) -> None:
        import tensorflow_datasets as tfds

        builder = open_builder(directory)
        self._directory, self._split = directory, split
        self.info = builder.info
        self.name = slug("_".join(filter(None, [self.info.name, self.info.config_name])))
        # Skip every image, segmentation masks too: decoding them would be wasted.
        features = self.info.features.items()
        images = [key for key, part in features if isinstance(part, tfds.features.Image)]
        self._records = builder.as_data_source(
            split=split, decoders={key: tfds.decode.SkipDecoding() for key in images}
        )
        self.files = tuple(
            file for file in sorted(pathlib.Path(directory).iterdir()) if "record" in file.name
        )

    def __len__(self) -> int:
        return len(self._records)

    @contextlib.contextmanager
    def reading(self, place: int) -> Iterator[dict[str, Any]]:
        """The features of a record; what cannot be made of them inside counts as damage too.

        Raises:
          UserError: the record is damaged.
        """
        try:
            yield self._records[place]
        except Exception as error:  # array_record raises whatever a damaged file leads to
            raise UserError(
                f"Record {place} of the split {self._split!r} in {self._directory} cannot be read "
                f"({error}). The files are damaged or incomplete: copy or prepare the data set "
                "again."
            ) from error
