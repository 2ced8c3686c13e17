"""What a file is that is no image here: the reason says it."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.transforms import ImageError, decode_image

PICTURE = Image.fromarray(np.arange(3072, dtype=np.uint8).reshape(32, 32, 3))


def encode(image_format, image=PICTURE, **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def reason(content):
    with pytest.raises(ImageError) as error:
        decode_image(content, resolution=8, crop="center")
    return str(error.value)


def with_frame(marker: int, *, bits: int = 8) -> bytes:
    """A JPEG whose frame header says another process, or another number of bits."""
    content = bytearray(encode("JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 1], content[place + 4] = marker, bits
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (encode("ICO", sizes=[(32, 32)]), "an icon"),
        (encode("TGA"), "TGA"),
        (encode("DDS"), "DDS"),
        (encode("QOI"), "QOI"),
        (b"SIMPLE  =                    T".ljust(2880), "FITS"),
        (b"P7\nWIDTH 8\nHEIGHT 8\n", "a portable arbitrary map"),
        (b"\x93NUMPY\1\0" + bytes(90), "a numpy array"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5"),
        (b"Rar!\x1a\7\0", "an archive"),
        (bytes(257) + b"ustar\0" + bytes(200), "an archive"),
        (b'{"error": "not found"}', "JSON"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1" + bytes(90), "a camera's raw file"),
        (b"\x1aE\xdf\xa3" + bytes(50), "a video"),
        (b"RIFF" + struct.pack("<I", 100) + b"AVI LIST" + bytes(100), "a video"),
        (with_frame(0xC1, bits=12), "a JPEG of 12 bits"),
        (with_frame(0xC3), "a lossless JPEG"),
    ],
)
def test_the_reason_names_it(content, said):
    assert reason(content).startswith(said)
    assert "which is not read here" in reason(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0\0\0\x18ftypavif\0\0\0\0" + bytes(90), "truncated (in its header)"),
        (encode("JPEG")[:-200], "truncated"),
        (encode("JPEG", progressive=True)[:-200], "truncated"),
        (encode("WEBP", quality=90)[:-100], "truncated"),
        (encode("TIFF")[:-100], "truncated"),
        (bytes(5000), "not an image"),
        (b"\r\n" + encode("JPEG"), "not an image"),
    ],
)
def test_damage_is_not_taken_for_another_kind(content, said):
    assert reason(content).startswith(said)


FRAMES = [Image.fromarray(np.roll(np.asarray(PICTURE), shift, 0)) for shift in (0, 8, 16)]


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {"save_all": True, "append_images": FRAMES[1:]}),
        ("WEBP", {"save_all": True, "append_images": FRAMES[1:], "lossless": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PNG", {"save_all": True, "append_images": FRAMES[1:], "default_image": True}),
    ],
    ids=["animated PNG", "animated WebP", "LZW", "PNG with a picture before its animation"],
)
def test_of_several_frames_the_first_is_read(image_format, options):
    content = encode(image_format, FRAMES[0], **options)
    read = decode_image(content, resolution=32, crop="center").pixels
    np.testing.assert_array_equal(read, np.asarray(PICTURE))


def test_cmyk_is_converted_as_pillow_does():
    cmyk = PICTURE.convert("CMYK")
    for image_format in ("TIFF", "JPEG"):
        content = encode(image_format, cmyk)
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        read = decode_image(content, resolution=32, crop="center").pixels
        np.testing.assert_array_equal(read, expected)


def test_a_canvas_of_65535_squared_is_refused_by_its_header():
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    gif += b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\2\2L\1\0;"
    assert reason(gif) == "too large: 65535x65535 pixels"
