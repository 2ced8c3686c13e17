"""One record: written, read back, refused."""

import numpy as np
import pytest

from dreamda_jax.data.sets import records
from tests.support.small_records import make_pixels, make_records


def test_record_round_trip():
    (record,) = make_records([3], variants=1)
    assert records.deserialize(records.serialize(record)) == record
    np.testing.assert_array_equal(records.decode_image(record.image), make_pixels(3, 0))
    surrogate = record._replace(seed_name="bad\udcff.jpg")
    assert records.deserialize(records.serialize(surrogate)).seed_name == "bad\\udcff.jpg"
    with pytest.raises(ValueError, match="two uint32"):
        records.serialize(record._replace(key=(-1, 0)))
    with pytest.raises(ValueError, match="uint8"):
        records.encode_image(np.zeros((4, 4, 3)), image_format="png", quality=90)
