"""Features of a set: computed once, gone on with after a stop, the same on one device as on two."""

import threading

import jax
import numpy as np
import pytest

from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.errors import UserError
from dreamda_jax.evaluate import networks
from dreamda_jax.models.extractors import Extractor
from dreamda_jax.runtime import devices, sweep
from tests.support.small_training import StopAfter, make_folder

VIEW = sweep.View(resolution=32, crop="center", batch_size=4, num_workers=0)


def means(images):
    """float32 [b, 3]: the mean colour, in grey levels."""
    return images.astype(np.float32).mean((1, 2))


def channel(name="means", digest="1", start=means):
    return sweep.Channel(name, digest, (3,), np.float32, start)


def run(source, channels, cache, *, stop=None, view=VIEW):
    return sweep.sweep(
        source, channels, view=view, cache=cache, stop=stop or threading.Event(), note="test"
    )


@pytest.fixture
def source(tmp_path):
    return open_folder(make_folder(tmp_path / "images", split="train", per_class=5))


def refuse(images):
    raise AssertionError("computed again")


def test_rows_labels_and_places(source, tmp_path):
    swept = run(source, [channel()], tmp_path / "cache")
    pixels = np.stack([np.asarray(_open(source[place].content)) for place in range(15)])
    np.testing.assert_allclose(swept.features["means"].values, means(pixels), rtol=1e-6)
    np.testing.assert_array_equal(swept.row_labels, np.repeat([0, 1, 2], 5))
    assert (swept.broken, len(swept.places)) == (0, 15)


def _open(path):
    from PIL import Image

    return Image.open(path).convert("RGB")


def test_the_same_images_are_not_looked_at_twice(source, tmp_path):
    first = run(source, [channel()], tmp_path / "cache")
    (tmp_path / "images").rename(tmp_path / "moved")
    moved = open_folder(tmp_path / "moved")
    again = run(moved, [channel(start=refuse)], tmp_path / "cache")
    np.testing.assert_array_equal(first.features["means"].values, again.features["means"].values)
    with pytest.raises(AssertionError, match="computed again"):  # another network
        run(moved, [channel(digest="2", start=refuse)], tmp_path / "cache")
    changed = next((tmp_path / "moved").glob("*/*.png"))
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(AssertionError, match="computed again"):
        run(moved, [channel(start=refuse)], tmp_path / "cache")


def test_a_stopped_sweep_goes_on(source, tmp_path):
    whole = run(source, [channel()], tmp_path / "whole")
    cache, seen = tmp_path / "cache", []

    def count(images):
        seen.append(len(images))
        return means(images)

    assert run(source, [channel(start=count)], cache, stop=StopAfter(2)) is None
    stopped_at = len(seen)
    assert 0 < stopped_at < 4
    # A second channel that is new sees everything; the first only the rest, whatever the batch.
    view = VIEW._replace(batch_size=6)
    both = [channel(start=count), channel("others")]
    resumed = run(source, both, cache, view=view)
    for name in ("means", "others"):
        np.testing.assert_array_equal(resumed.features[name].values, whole.features["means"].values)


def test_images_that_cannot_be_decoded_have_no_row(source, tmp_path, capsys):
    bad = sorted((tmp_path / "images").glob("*/*.png"))[6]
    bad.write_bytes(bad.read_bytes()[:50])
    swept = run(source, [channel()], tmp_path / "cache")
    assert swept.broken == 1
    assert 6 not in swept.places
    assert len(swept.features["means"].values) == len(swept.row_labels) == 14
    assert bad.name in capsys.readouterr().out


def test_features_that_are_no_numbers_name_the_image(source, tmp_path):
    def nan(images):
        rows = means(images)
        rows[2] = np.nan
        return rows

    with pytest.raises(UserError, match=f"means: the features of {source[2].name} are not finite"):
        run(source, [channel(start=nan)], tmp_path / "cache")


def test_one_device_gives_what_two_give(source, tmp_path):
    weights = np.random.default_rng(0).normal(size=(32 * 32 * 3, 5)).astype(np.float32) / 1e4

    def features(params, images):
        return images.reshape(len(images), -1).astype(np.float32) @ params

    extractor = Extractor("linear", "", weights, features, 5, "1")
    rows = []
    for count in (1, 2):
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:count])[:, None], ("data", "fsdp"))
        made = run(source, [networks.device_channel(mesh, extractor)], tmp_path / str(count))
        rows.append(made.features["linear"].values)
    assert len(jax.devices()) >= 2
    # Sums of 3,072 products up to 1: some XLAs order them by the number of rows.
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-6, atol=1e-6)
    assert devices.device_count() >= 2


def test_fingerprints(source, tmp_path):
    swept = run(source, [networks.fingerprint_channel()], tmp_path / "cache")
    values = swept.features[networks.FINGERPRINTS].values
    assert values["hash"].dtype == np.uint64
    np.testing.assert_allclose(np.square(values["thumbnail"]).sum((1, 2)), 1, rtol=1e-5)
