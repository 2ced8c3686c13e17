"""Turn a finished synthetic data set into an image folder, WebDataset tars or Parquet files.

    python -m dreamda_jax.export --input RUN_DIR --to imagefolder --output DIR

The images are copied byte for byte. The input must be complete; the output must not exist.
"""

import sys
import tempfile
from pathlib import Path

from absl import flags
from tqdm import tqdm

from dreamda_jax.data.files import object_store, run_directory, staging
from dreamda_jax.data.files.mirror import Mirror
from dreamda_jax.data.sets import dataset, exporters
from dreamda_jax.errors import UserError
from dreamda_jax.settings import command_line

_INPUT = flags.DEFINE_string(
    "input", None, "Output directory of dreamda_jax.generate.", required=True
)
_TO = flags.DEFINE_enum("to", None, list(exporters.EXPORTERS), "Format to write.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Directory to make.", required=True)
_FILE_MB = flags.DEFINE_integer(
    "file_mb", 512, "Size bound of one tar or Parquet file, in megabytes.", lower_bound=1
)


def main() -> int:
    """Check the input, write the export under a temporary name, rename it or upload it."""
    if not object_store.is_remote(_OUTPUT.value):
        return _export(Path(_OUTPUT.value))
    store = object_store.open_store(_OUTPUT.value)
    if store.list():
        raise UserError(f"{store.url} exists already. Give another --output.")
    with tempfile.TemporaryDirectory(prefix="dreamda_jax-export-") as scratch:
        directory = Path(scratch) / "export"
        _export(directory)
        print(f"Uploading to {store.url} …", file=sys.stderr)
        Mirror(store, directory).push()
    return 0


def _export(output: Path) -> int:
    source = staging.local(_INPUT.value)
    print(f"Checking {_INPUT.value} …", file=sys.stderr)
    found = dataset.open_finished(source)
    # A tar holds three padded members a record; 4 KiB a record is more than any format adds.
    needed = found.num_bytes + 4096 * found.num_records
    run_directory.check_free_space(output, needed=needed)
    records = tqdm(
        dataset.checked_records(found),
        desc=_TO.value,
        total=found.num_records,
        unit=" images",
        disable=None,  # shown on a terminal only
    )
    with exporters.staged(output, needed=needed) as scratch:
        exporters.EXPORTERS[_TO.value](
            records,
            output=scratch,
            label_names=found.label_names,
            file_bytes=_FILE_MB.value * 1_000_000,
        )
    times = exporters.names_read_as_times(found.label_names)
    if times and _TO.value == "imagefolder":
        print(
            f"note: Hugging Face's imagefolder may read class names such as {times[0]!r} as times; "
            "--to parquet keeps them"
        )
    print(f"{found.num_records} images of {len(found.label_names)} classes in {_OUTPUT.value}")
    return 0


if __name__ == "__main__":
    command_line.run(main)
