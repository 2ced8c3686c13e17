"""TIFFs by their headers: which bits count, which way white is, and what is not read."""

import struct

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data import image_repair, tiff_header
from dreamda_jax.data.transforms import ImageError, decode_image
from tests.data.test_odd_images import RAMP, encode

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
SHORT, LONG = 3, 4


def tiff(
    data: bytes,
    *,
    order: str = "<",
    bits: tuple[int, ...] = (16,),
    photometric: int = 1,
    kind: int = UNSIGNED,
    big: bool = False,
    more: tuple[tuple[int, int, list[int]], ...] = (),
) -> bytes:
    """8 x 8 pixels in one strip, the directory behind it."""
    begin, offset, number = (16, "Q", "Q") if big else (8, "I", "H")
    samples = len(bits)
    tags = [
        *((256, SHORT, [8]), (257, SHORT, [8]), (258, SHORT, list(bits)), (259, SHORT, [1])),
        *((262, SHORT, [photometric]), (273, LONG, [begin]), (277, SHORT, [samples])),
        *((278, SHORT, [8]), (279, LONG, [len(data)]), (339, SHORT, [kind] * samples), *more),
    ]
    start = begin + len(data)
    room = struct.calcsize(offset)
    size = struct.calcsize(f"={number}{offset}") + (4 + 2 * room) * len(tags)
    entries, behind = b"", b""
    for tag, form, values in sorted(tags):
        value = struct.pack(f"{order}{len(values)}{'H' if form == SHORT else 'I'}", *values)
        if len(value) > room:
            place = struct.pack(f"{order}{offset}", start + size + len(behind))
            value, behind = place, behind + value
        entries += struct.pack(f"{order}HH{offset}", tag, form, len(values)) + value.ljust(
            room, b"\0"
        )
    mark = b"II" if order == "<" else b"MM"
    version = struct.pack(f"{order}HHH", 43, 8, 0) if big else struct.pack(f"{order}H", 42)
    head = mark + version + struct.pack(f"{order}{offset}", start)
    end = struct.pack(f"{order}{number}", len(tags)) + entries + bytes(room)
    return head + data + end + behind


def pixels(content, **options):
    return decode_image(content, resolution=8, crop="center", **options).pixels


def ends(content, **options):
    image = pixels(content, **options)
    return int(image[0, 0, 0]), int(image[-1, -1, 0])


def reason(content):
    with pytest.raises(ImageError) as error:
        pixels(content)
    return str(error.value)


def packed_12_bits(values: np.ndarray) -> bytes:
    first, second = values.reshape(-1, 2).astype(np.uint32).T
    three = [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
    return np.stack(three, -1).astype(np.uint8).tobytes()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_what_is_read_of_a_header(order, big):
    header = tiff_header.read_header(
        tiff(bytes(192), order=order, bits=(8, 8, 8), photometric=2, big=big)
    )
    assert header.order == order
    assert header.tags[tiff_header.BITS] == (8, 8, 8)
    assert header.first(tiff_header.PHOTOMETRIC, -1) == 2
    assert header.first(tiff_header.HIGHEST, 255) == 255
    assert tiff_header.HIGHEST not in header.tags


@pytest.mark.parametrize("big", [False, True])
def test_a_header_that_is_cut_or_lies_is_none(big):
    whole = tiff(RAMP.tobytes(), big=big)
    for length in range(len(whole) - 40):
        assert tiff_header.read_header(whole[:length]) is None
    assert tiff_header.read_header(b"II*\0" + b"\xff" * 60) is None
    assert tiff_header.read_header(b"II+\0" + b"\xff" * 60) is None
    assert tiff_header.read_header(encode(Image.fromarray(RAMP))) is None


def test_white_may_be_zero_in_a_big_tiff():
    data = RAMP.astype("<u2").tobytes()
    assert ends(tiff(data, big=True)) == (0, 255)
    assert ends(tiff(data, big=True, photometric=0)) == (255, 0)


def test_twelve_bits_have_their_range():
    assert ends(tiff(packed_12_bits(RAMP >> 4), bits=(12,))) == (0, 255)
    assert ends(tiff(packed_12_bits(RAMP >> 6), bits=(12,))) == (0, 64)  # a quarter of it


def test_the_highest_value_is_honoured_unless_one_is_above():
    highest = ((tiff_header.HIGHEST, SHORT, [4095]),)
    few = tiff((RAMP >> 4).astype("<u2").tobytes(), more=highest)
    assert ends(few) == (0, 255)
    assert ends(tiff((RAMP >> 4).astype("<u2").tobytes()))[1] == 16
    wrong = tiff(RAMP.astype("<u2").tobytes(), more=highest)
    np.testing.assert_array_equal(pixels(wrong), pixels(encode(Image.fromarray(RAMP))))


def test_counts_of_32_bits_have_no_sign():
    """Pillow takes the upper half of them for negative ones."""
    values = RAMP.astype("<u4") * 65537
    assert ends(tiff(values.tobytes(), bits=(32,))) == (0, 255)
    signed = (values.astype(np.int64) - 2**31).astype("<i4")
    assert ends(tiff(signed.tobytes(), bits=(32,), kind=SIGNED)) == (0, 255)


def test_places_without_a_value_are_black_and_change_nothing_else():
    values = RAMP.astype("<f4")
    marked = values.copy()
    marked[0, :4] = np.finfo(np.float32).min
    whole = pixels(tiff(values.tobytes(), bits=(32,), kind=FLOAT))
    holes = pixels(tiff(marked.tobytes(), bits=(32,), kind=FLOAT))
    assert holes[0, :4].max() == 0
    np.testing.assert_array_equal(holes[1:], whole[1:])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bits": (64,), "kind": FLOAT}, "a TIFF of 1 x 64 bits (float)"),
        ({"bits": (16,), "kind": FLOAT}, "a TIFF of 1 x 16 bits (float)"),
        ({"bits": (32,) * 3, "kind": FLOAT, "photometric": 2}, "a TIFF of 3 x 32 bits (float)"),
        ({"bits": (12,), "order": ">"}, "a TIFF of 1 x 12 bits (unsigned)"),
    ],
)
def test_the_reason_names_samples_that_are_not_read(given, said):
    size = 64 * sum(given["bits"]) // 8
    assert reason(tiff(bytes(size), **given)).startswith(said)


def test_what_a_file_says_of_its_white():
    assert image_repair.stated_white(tiff(bytes(128))) is None
    assert image_repair.stated_white(tiff(bytes(96), bits=(12,))) == 4095
    assert image_repair.stated_white(b"P5\n8 8\n4095\n" + bytes(128)) == 65535
    assert image_repair.stated_white(b"\xff\xd8\xff") is None


def test_a_dark_grey_map_is_as_dark_as_the_same_png():
    """Pillow scales PNM samples to 65535; a range chosen by the values would brighten them."""
    dark = RAMP // 300
    content = b"P5\n8 8\n65535\n" + dark.astype(">u2").tobytes()
    np.testing.assert_array_equal(pixels(content), pixels(encode(Image.fromarray(dark))))
    assert pixels(content).max() <= 1


def test_one_range_for_a_whole_set():
    """Twelve bits in files of sixteen that do not say so."""
    few = encode(Image.fromarray(RAMP >> 4))
    assert ends(few)[1] == 16
    assert ends(few, grey_max=4095) == (0, 255)
    half = encode(Image.fromarray(RAMP >> 5))
    assert ends(half, grey_max=4095) == (0, 127)  # not stretched by itself
    over = encode(Image.fromarray(RAMP))
    assert pixels(over, grey_max=4095)[-1].min() == 255
    signed = tiff((RAMP.astype(np.int32) - 32768).astype("<i2").tobytes(), kind=SIGNED)
    assert ends(signed, grey_max=32767) == (0, 255)
    eight = encode(Image.fromarray((RAMP >> 8).astype(np.uint8)))
    np.testing.assert_array_equal(pixels(eight, grey_max=4095), pixels(eight))
