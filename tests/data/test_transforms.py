import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFile

from dreamda_jax.data.transforms import ImageError, decode_image

ASTRONAUT = skimage.data.astronaut()
CAT = skimage.data.chelsea()  # 300 high, 451 wide


def encode(image, image_format="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def decode(content, resolution=32, crop="center", **options):
    result = decode_image(content, resolution=resolution, crop=crop, **options)
    assert result.pixels.dtype == np.uint8
    assert result.pixels.shape == (resolution, resolution, 3)
    assert result.pixels.flags.writeable
    return result


def reason(content, **options):
    with pytest.raises(ImageError) as error:
        decode(content, **options)
    assert len(str(error.value)) <= 200
    return str(error.value)


@pytest.mark.parametrize("crop", ["center", "squash"])
def test_right_size_passes_unchanged(crop, tmp_path):
    pixels = np.ascontiguousarray(ASTRONAUT[100:132, 100:132])
    file = tmp_path / "a.png"
    file.write_bytes(encode(pixels))
    for content in (pixels, encode(pixels), file):
        np.testing.assert_array_equal(decode(content, 32, crop).pixels, pixels)


def test_result_does_not_share_memory_with_the_input():
    pixels = np.zeros((32, 32, 3), np.uint8)
    decode(pixels, 32).pixels[:] = 9
    assert pixels.max() == 0


def test_center_crops_the_middle_and_squash_keeps_everything():
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, 30:70] = 200
    assert decode(wide, 40, "center").pixels.min() == 200
    squashed = decode(wide, 40, "squash").pixels
    assert squashed[:, 0].max() < 10
    assert squashed[:, 20].min() > 190
    result = decode(CAT, 64)
    assert (result.width, result.height) == (451, 300)


def test_shrinking_is_antialiased():
    board = np.kron(np.indices((256, 256)).sum(0) % 2, np.ones((2, 2))).astype(np.uint8) * 255
    small = decode(board, 32).pixels.astype(int)
    assert abs(small - 127).max() <= 3  # without antialiasing: all black or all white


def test_photo_agrees_with_area_means():
    block = ASTRONAUT.reshape(32, 16, 32, 16, 3).mean((1, 3))
    error = np.abs(decode(ASTRONAUT, 32).pixels - block).mean()
    assert error < 5


def test_extreme_strip_costs_no_memory():
    result = decode(np.full((1, 100_000, 3), 7, np.uint8), 512)
    assert (result.pixels == 7).all()


# EXIF orientation: how a viewer must turn the stored pixels, written down independently.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation(orientation, image_format):
    stored = np.ascontiguousarray(CAT[:20, :30])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if image_format == "WEBP" else {}
    result = decode(encode(stored, image_format, exif=exif, **options), 20)
    upright = TURNS[orientation](stored)
    np.testing.assert_array_equal(result.pixels, decode(np.ascontiguousarray(upright), 20).pixels)
    assert (result.height, result.width) == upright.shape[:2]


def test_exif_orientation_jpeg_and_nonsense_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    result = decode(encode(CAT, "JPEG", exif=exif, quality=95), 300)
    expected = decode(np.ascontiguousarray(np.rot90(CAT, -1)), 300).pixels
    assert np.abs(result.pixels.astype(int) - expected).mean() < 3
    exif[0x0112] = 77
    decode(encode(CAT, "JPEG", exif=exif), 32)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_cost_the_image():
    good = encode(CAT, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(good, 32).pixels.shape == (32, 32, 3)


def ramp(top, dtype):
    return np.tile(np.linspace(0, top, 32), (32, 1)).astype(dtype)


GREY = np.repeat(np.round(ramp(255, float)).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_modes(mode):
    image_format = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    source = Image.fromarray(GREY)
    source = source.quantize(256) if mode == "P" else source.convert(mode)
    assert source.mode == mode
    # Pillow before 13 cannot read the uncompressed one that it writes.
    options = {"compression": "tiff_lzw"} if mode == "YCbCr" else {}
    result = decode(encode(source, image_format, **options), 32).pixels.astype(int)
    expected = np.asarray(source.convert("RGB")) if mode == "1" else GREY
    assert np.abs(result - expected).max() <= (4 if mode in ("P", "YCbCr") else 1)


def test_cmyk_jpeg():
    source = Image.fromarray(ASTRONAUT).convert("CMYK")
    result = decode(encode(source, "JPEG", quality=95), 512).pixels.astype(int)
    assert np.abs(result - ASTRONAUT).mean() < 6  # not inverted


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(image_format):
    data = encode(Image.fromarray(ramp(65535, np.uint16)), image_format)
    assert np.abs(decode(data, 32).pixels.astype(int) - GREY).max() <= 1
    dark = encode(Image.fromarray(ramp(65535, np.uint16) // 16), image_format)
    assert decode(dark, 32).pixels.max() == 16  # absolute scale, no stretching


def big_endian_tiff(values):
    buffer = io.BytesIO()
    Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes()).save(
        buffer, "TIFF"
    )
    return buffer.getvalue()


def test_sixteen_bit_big_endian():
    result = decode(big_endian_tiff(ramp(65535, np.uint16)), 32).pixels
    assert np.abs(result.astype(int) - GREY).max() <= 1


def test_sixteen_bit_rgb_png():
    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    wide = np.repeat(ramp(65535, ">u2")[:, :, None], 3, axis=2)
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    header = struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    data += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.abs(decode(data, 32).pixels.astype(int) - GREY).max() <= 1


@pytest.mark.parametrize(
    "values",
    [
        ramp(1, np.float32),
        ramp(255, np.float32),
        ramp(65535, np.float32),
        ramp(2, np.float32) - 1,
        ramp(1e9, np.float32),
        ramp(255, np.int32),
        ramp(65535, np.int32),
        ramp(2e9, np.int32) - 1_000_000_000,
    ],
)
def test_wide_grey(values):
    result = decode(encode(Image.fromarray(values), "TIFF"), 32).pixels
    assert np.abs(result.astype(int) - GREY).max() <= 1


def test_float_with_nan():
    values = ramp(1, np.float32)
    values[0, 5] = np.nan
    values[1, 5] = np.inf
    result = decode(encode(Image.fromarray(values), "TIFF"), 32).pixels
    assert (result[0, 5] == 0).all()
    assert np.abs(result[2:].astype(int) - GREY[2:]).max() <= 1
    nothing = np.full((4, 4), np.nan, np.float32)
    assert "finite" in reason(encode(Image.fromarray(nothing), "TIFF"))


def test_transparency_is_composited_on_white():
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[:16] = (255, 0, 0, 255)
    rgba[16:] = (0, 0, 255, 0)  # blue that nobody was meant to see
    for content in (encode(rgba), encode(rgba, "WEBP", lossless=True), encode(rgba, "TIFF"), rgba):
        result = decode(content, 32).pixels
        assert (result[:16] == (255, 0, 0)).all()
        assert (result[16:] == 255).all()
    half = encode(np.full((32, 32, 4), (0, 0, 0, 128), np.uint8))
    assert abs(int(decode(half, 32).pixels[0, 0, 0]) - 127) <= 1


def test_palette_and_keyed_transparency():
    image = Image.new("P", (32, 32), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    opaque = decode(encode(image), 32).pixels
    assert (opaque == (200, 100, 50)).all()
    for transparency in (1, b"\xff\x00"):
        assert (decode(encode(image, transparency=transparency), 32).pixels == 255).all()
    grey = Image.new("L", (32, 32), 7)
    assert (decode(encode(grey, transparency=7), 32).pixels == 255).all()
    rgb = Image.new("RGB", (32, 32), (1, 2, 3))
    assert (decode(encode(rgb, transparency=(1, 2, 3)), 32).pixels == 255).all()
    la = Image.new("LA", (32, 32), (9, 0))
    assert (decode(encode(la), 32).pixels == 255).all()


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_many(image_format):
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encode(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3
    assert (decode(data, 32).pixels == (255, 0, 0)).all()


def test_real_gif():
    path = os.path.join(os.path.dirname(skimage.data.__file__), "no_time_for_that_tiny.gif")
    with open(path, "rb") as file:
        assert decode(file.read(), 64).pixels.std() > 10


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_truncated(image_format, share):
    data = encode(CAT, image_format)
    assert reason(data[: int(len(data) * share)]).startswith("truncated")


def test_unusable_files(tmp_path):
    assert reason(tmp_path / "nothing.png") == "missing"
    (tmp_path / "zero.png").touch()
    assert reason(tmp_path / "zero.png") == "empty file"
    assert reason(b"") == "empty file"
    (tmp_path / "text.png").write_text("this is not the picture you are looking for\n" * 10)
    assert reason(tmp_path / "text.png") == "not an image"
    assert reason(b"\0" * 10_000) == "not an image"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n") == (
        "PostScript, which is not read here"
    )
    assert reason(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "an SVG, which is not read here"
    assert reason(tmp_path) == "not a file"
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert "symbolic links" in reason(tmp_path / "loop.png")
    assert reason(tmp_path / ("x" * 300 + ".png")) == "file name too long"
    assert "missing" in reason(tmp_path / "nul\0.png")
    assert "missing" in reason(tmp_path / "\ud800.png")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    assert reason(tmp_path / "pipe.png") == "not a file"


def test_failing_disk_is_not_the_images_fault(tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    file.write_bytes(encode(CAT))

    def fail(self):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(file), "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output"):
        decode(file)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_random_damage_never_escapes(image_format):
    data = encode(CAT[:64, :64], image_format)
    generator = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(60):
            damaged = bytearray(data)
            for place in generator.integers(0, len(data) if i % 2 else 100, 8):
                damaged[place] = generator.integers(256)
            try:
                decode(bytes(damaged), 32)
            except ImageError as error:
                assert str(error)  # noqa: PT017 - either outcome is right


def bomb(width, height):
    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data


def test_decompression_bombs():
    assert reason(bomb(30000, 30000)) == "too large: 30000x30000 pixels"
    assert reason(encode(CAT), max_pixels=1000) == "too large: 451x300 pixels"
    assert reason(CAT, max_pixels=1000) == "too large: 451x300 pixels"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # some people run that way: Pillow's warning then raises
        assert reason(bomb(10000, 10000)) == "too large: 10000x10000 pixels"


def test_huge_file_is_not_read(tmp_path):
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(2**33)  # sparse
    assert reason(tmp_path / "huge.png").startswith("too large: 8589934592 bytes")


def test_pillow_settings_stay_as_they_are(monkeypatch):
    for truncated, limit in ((False, 89478485), (True, None), (False, 1_000_000)):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", truncated)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        decode(encode(CAT), 32)
        assert reason(bomb(30000, 30000)) == "too large: 30000x30000 pixels"
        assert truncated == ImageFile.LOAD_TRUNCATED_IMAGES
        assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_images_are_a_programming_error(pixels):
    with pytest.raises(ValueError, match="pixels must"):
        decode_image(pixels, resolution=8, crop="center")


def test_bad_arguments():
    with pytest.raises(ValueError, match="resolution"):
        decode_image(CAT, resolution=0, crop="center")
    with pytest.raises(ValueError, match="crop"):
        decode_image(CAT, resolution=8, crop="stretch")
    for pixels in (CAT[:, :, 0], CAT[:, :, :1]):
        assert decode(pixels, 16).pixels.std() > 0
    assert "no pixels" in reason(np.zeros((0, 5, 3), np.uint8))
