"""A checkpoint saved or restored on the devices there are, split over all of them.

python -m tests.support.checkpoint_on_devices save|restore DIRECTORY
"""

import json
import sys
from pathlib import Path

import chex
import jax

from tests.runtime import test_checkpoint as this


def main(step: str, directory: Path) -> None:
    """Restoring compares bit for bit, and looks at the sharding."""
    devices = jax.device_count()
    if step == "save":
        this.save(directory, 10, fsdp=devices)
    else:
        like = this.state(0, fsdp=devices)
        _, found = this.restore(directory, like)
        chex.assert_trees_all_equal(found, this.state(10))
        assert found["weights"].sharding == like["weights"].sharding
    print(json.dumps({"devices": devices}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
