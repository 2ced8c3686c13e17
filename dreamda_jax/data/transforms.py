"""From an encoded image of any kind to square uint8 RGB, on the host, in numpy and Pillow.

Value range and layout: sRGB 0..255, [height, width, channel].
"""

import errno
import functools
import io
import pathlib
import stat
import struct
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dreamda_jax.data import image_memory, image_repair, wide_grey
from dreamda_jax.data.image_kinds import ImageError, what_it_is

__all__ = ["MAX_PIXELS", "Crop", "DecodedImage", "ImageError", "decode_image"]

Crop = Literal["center", "squash"]

MAX_PIXELS = 178_956_970
"""Pillow's own limit for an error: a quarter of a gigabyte of 8-bit RGB, three times over."""

# Formats whose decoders are part of Pillow. The list is closed because Pillow would otherwise try
# whatever the content looks like, and an EPS file named .png would start Ghostscript.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_AVIF = (b"ftypavif", b"ftypavis")
_MAX_BYTES_PER_PIXEL = 8  # 16-bit RGBA, uncompressed: no honest file is larger
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_UNAVAILABLE = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ELOOP: "circle of symbolic links",
    errno.ENAMETOOLONG: "file name too long",
}


class DecodedImage(NamedTuple):
    """A decoded image and the size it had."""

    pixels: np.ndarray
    """uint8 [resolution, resolution, 3]."""
    width: int
    """Of the original, in pixels, upright (after its EXIF orientation)."""
    height: int


def decode_image(
    content: pathlib.Path | bytes | np.ndarray,
    *,
    resolution: int,
    crop: Crop,
    max_pixels: int = MAX_PIXELS,
    grey_max: float | None = None,
) -> DecodedImage:
    """Decodes an image, turns it upright and makes it square RGB.

    To RGB: EXIF orientation is applied; transparency is composited on white (the usual
    background of cut-out product pictures; the colour beneath is often garbage); grey is repeated;
    CMYK is converted without its colour profile; 16-bit grey is scaled from 0..65535, whatever its
    contents, but from the range that its file names (a PNG's sBIT, a TIFF's 9 to 15 bits or
    MaxSampleValue) where all of them lie in it. 32-bit integer and float images have no fixed
    range: see `wide_grey`. `grey_max` is the range of them all instead. Animated images and
    multi-page TIFFs give their first frame.

    No image takes more than about a gigabyte (`image_memory`): one of more than 40 million pixels
    is reduced by a whole number first, one that would take more is refused by its header.

    To a square: "center" takes the largest centred square and scales it, "squash" scales both
    sides. Scaling is Pillow's Lanczos, antialiased when shrinking. An image that already has the
    target size passes unchanged, e.g. 32x32 content at resolution 32.

    Args:
      content: a file, encoded bytes (jpeg, png, webp, bmp, gif, tiff, ppm, jpeg 2000, avif), or
        uint8 pixels [h, w], [h, w, 1], [h, w, 3] or [h, w, 4] (RGBA).
      resolution: side of the result in pixels.
      crop: "center" or "squash".
      max_pixels: larger images are refused by their header, before any pixel is decoded.
      grey_max: what is white in grey of more than eight bits; 0 is black. None: by the image.

    Returns:
      Pixels uint8 [resolution, resolution, 3], own memory, and the original's size.

    Raises:
      ImageError: missing, empty, truncated, damaged, not an image, too large.
      ValueError: a bad `resolution` or `crop`, or an array that is not uint8 pixels.
      OSError: the disk itself failed (I/O error, too many open files): not the image's fault.
    """
    if resolution < 1:
        raise ValueError(f"resolution must be at least 1, got {resolution}")
    if crop not in ("center", "squash"):
        raise ValueError(f"crop must be 'center' or 'squash', got {crop!r}")
    if isinstance(content, np.ndarray):
        image = _from_array(content, max_pixels)
        width, height = image.size
    else:
        if isinstance(content, pathlib.Path):
            content = _read(content, max_pixels)
        image, (width, height) = _decode(content, max_pixels, resolution, grey_max)
    try:
        return DecodedImage(_to_square(image, resolution, crop), width, height)
    except MemoryError as error:
        raise ImageError(_too_large(width, height)) from error


def _to_square(image: Image.Image, resolution: int, crop: Crop) -> np.ndarray:
    width, height = image.size
    if crop == "center":
        # Crop, then scale once: scaling first would blow a 1x100000 strip up to gigabytes.
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != (resolution, resolution):
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.array(image)


def _read(path: pathlib.Path, max_pixels: int) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise ImageError("not a file")
        if status.st_size > max_pixels * _MAX_BYTES_PER_PIXEL:
            raise ImageError(f"too large: {status.st_size} bytes")
        return path.read_bytes()
    except ImageError:
        raise
    except ValueError as error:  # a NUL or a lone surrogate in the name
        raise ImageError("missing (not a valid file name)") from error
    except OSError as error:
        if error.errno not in _UNAVAILABLE:
            raise
        raise ImageError(_UNAVAILABLE[error.errno]) from error


def _decode(
    content: bytes, max_pixels: int, resolution: int, grey_max: float | None
) -> tuple[Image.Image, tuple[int, int]]:
    """The image as upright RGB, perhaps reduced; and its own size."""
    if not content:
        raise ImageError("empty file")
    negative = image_repair.with_black_as_zero(content)
    content = negative or content
    try:
        image, size = _opened(content, max_pixels, resolution, grey_max)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("too large for the memory there is") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_bomb_reason(content)) from error
    except UnidentifiedImageError as error:
        cut = content.startswith(_SIGNATURES) or content[4:12] in _AVIF
        usual = "truncated (in its header)" if cut else "not an image"
        raise ImageError(what_it_is(content) or usual) from error
    # Pillow's decoders raise nearly anything on damaged input: OSError, SyntaxError, struct.error,
    # zlib.error, EOFError, IndexError. All bytes are in memory, so none of it is the disk's fault.
    except Exception as error:
        shorter = image_repair.without_words(content)
        if shorter is not None:  # its comments are too long for Pillow, or damaged
            return _decode(shorter, max_pixels, resolution, grey_max)
        raise ImageError(what_it_is(content) or _damage(error, content)) from error
    return (ImageOps.invert(image) if negative else image), size


def _opened(
    content: bytes, max_pixels: int, resolution: int, grey_max: float | None
) -> tuple[Image.Image, tuple[int, int]]:
    with Image.open(io.BytesIO(content), formats=_formats()) as opened:
        image: Image.Image = opened
        _check_size(*image.size, max_pixels)
        if image_memory.needed_bytes(image, num_content=len(content)) > image_memory.MOST_BYTES:
            raise ImageError(_too_large(*image.size))
        image.load()
        if image.mode == "I" and image_repair.has_unsigned_32_bits(content):
            image = wide_grey.as_unsigned(image)
        between = _grey_range(image, content, grey_max)
        convert = functools.partial(_to_rgb, between=between)
        # TIFF has been turned by `load` already and then reports no orientation.
        turned = _turn(image)
        size = image.size if turned is None else image.transpose(turned).size
        if image.width * image.height > image_memory.LARGE:
            small = image_memory.reduced(image, convert, resolution=resolution)
            return (small if turned is None else small.transpose(turned)), size
        return convert(image if turned is None else image.transpose(turned)), size


def _too_large(width: int, height: int) -> str:
    return f"too large: {width}x{height} pixels take more than a gigabyte to decode"


def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]  # AVIF is optional in Pillow


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"no pixels ({width}x{height})")
    if width * height > max_pixels:
        raise ImageError(f"too large: {width}x{height} pixels")


def _bomb_reason(content: bytes) -> str:
    # `Image.open` refuses without saying the size; the format's own class reads just the header.
    for name in _formats():
        factory, accepts = Image.OPEN[name]
        try:
            if accepts and accepts(content[:16]) is not True:
                continue
            width, height = factory(io.BytesIO(content), "").size
        except Exception:  # another format's header
            continue
        return f"too large: {width}x{height} pixels"
    return "too large"


def _damage(error: Exception, content: bytes) -> str:
    text = str(error)
    # WebP's decoder does not say; the container's header has the length.
    if content[:4] == b"RIFF" and len(content) < int.from_bytes(content[4:8], "little") + 8:
        return "truncated"
    signs = ("truncated", "not enough", "too short", "unexpected end", "failed to read next frame")
    if isinstance(error, EOFError | struct.error) or any(sign in text.lower() for sign in signs):
        return "truncated"
    return f"damaged ({text or type(error).__name__})"[:200]


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What brings an image upright, by its EXIF orientation; None: it is."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF data around sound pixels
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _to_rgb(image: Image.Image, *, between: wide_grey.Range | None = None) -> Image.Image:
    """Args: between: of grey of more than eight bits, what is black and what is white."""
    keyed = image.info.get("transparency")
    if image.mode == "RGB" and keyed is None:
        return image
    if wide_grey.is_wide(image.mode):
        pixels = np.asarray(image)
        values = wide_grey.to_bytes(pixels, between or wide_grey.range_of(image))
        if isinstance(keyed, int):  # one grey is transparent: white, as with eight bits
            values = np.where(pixels == keyed, np.uint8(255), values)
        return Image.fromarray(values).convert("RGB")
    if image.mode == "RGB" and isinstance(keyed, tuple) and max(keyed) > 255:
        image = image.copy()  # of 16 bits, whose pixels have been brought to eight
        image.info["transparency"] = tuple(level >> 8 for level in keyed)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or keyed is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _grey_range(
    image: Image.Image, content: bytes, grey_max: float | None
) -> wide_grey.Range | None:
    """Of a whole image of grey of more than eight bits; None for all others."""
    if not wide_grey.is_wide(image.mode):
        return None
    if grey_max is not None:
        return 0.0, float(grey_max)
    return wide_grey.range_of(image, stated_white=image_repair.stated_white(content))


def _from_array(pixels: np.ndarray, max_pixels: int) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ValueError(
            f"pixels must be uint8 [h, w] or [h, w, channels], got {pixels.dtype} {pixels.shape}"
        )
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4):
        raise ValueError(f"pixels must have 1, 3 or 4 channels, got shape {pixels.shape}")
    _check_size(pixels.shape[1], pixels.shape[0], max_pixels)
    squeezed = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    return _to_rgb(Image.fromarray(np.ascontiguousarray(squeezed)))
