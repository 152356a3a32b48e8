"""One picture in one file: what its header says, its pixels, and the square cut from it; needs Pillow.

Pillow keeps 8 bits of colours of 16 bits; here all are kept.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

Pixels = NDArray[np.uint8 | np.uint16]

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
PLANAR, BITS = 284, 258  # numbers of tags of TIFF
LUMA = (0.299, 0.587, 0.114)
_OTHER_BYTES = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class Header(NamedTuple):
    """Sides in pixels as stored, channels (1 or 3) and bits of a channel (8 or 16)."""

    height: int
    width: int
    channels: int
    bits: int


def read_header(file: Path) -> Header:
    """Read what a picture is like, without its pixels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture, holds several, or has pixels of neither 8 nor 16 bits; the text is a reason.
    """
    with _opened(file) as image:
        pages = getattr(image, "n_frames", 1) if image.format in ("TIFF", "PNG", "WEBP") else 1
        if pages > 1:
            raise ValueError(f"it holds {pages} pages or frames, expected one: save each as a file of its own")
        return Header(image.height, image.width, 1 if _is_gray(image) else 3, _bits(image))


def read_pixels(file: Path, channels: int) -> Pixels:
    """Read a picture with all its bits.

    The orientation that a camera noted is applied and transparency dropped; colours become gray by ITU-R 601 luma.

    Args:
        file: PNG, JPEG, TIFF, BMP, WebP or whatever else Pillow reads.
        channels: 1 or 3.

    Returns:
        `(height, width)` or `(height, width, 3)`: uint16 if the file has 16 bits a channel, otherwise uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read whole, or has pixels of neither 8 nor 16 bits; the text is a reason.
    """
    from PIL import ImageOps

    with _opened(file) as image:
        bits, gray, code = _bits(image), _is_gray(image), _code(image)
        if bits == 8:
            if image.mode in ("P", "PA"):  # Pillow warns of a palette with transparency unless it goes by RGBA
                return _convert(ImageOps.exif_transpose(image).convert("RGBA"), channels)
            return _convert(ImageOps.exif_transpose(image), channels)
        values: NDArray[np.uint16]
        if code.startswith("LA"):  # gray and alpha, two bytes of each: read as four channels of one byte
            _read_as(image, "RGBA")
            high, low = np.asarray(ImageOps.exif_transpose(image), dtype=np.uint16)[..., :2].transpose(2, 0, 1)
            values = high * np.uint16(256) + low
        elif gray:
            values = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
        else:  # Pillow keeps the high bytes of 16-bit colours; read in the other order of bytes it keeps the low ones
            high = np.asarray(ImageOps.exif_transpose(image), dtype=np.uint16)[..., :3]
            with _opened(file) as again:
                _read_as(again, code[:-1] + _OTHER_BYTES[code[-1]])
                low = np.asarray(ImageOps.exif_transpose(again), dtype=np.uint16)[..., :3]
            values = high * np.uint16(256) + low
    if channels == 3:
        return np.repeat(values[..., None], 3, axis=2) if gray else values
    return values if gray else np.rint(values @ np.array(LUMA)).astype(np.uint16)


def centre_square(pixels: Pixels, size: int) -> Pixels:
    """Cut out the centre square and scale it to `size` pixels, antialiased; an array of the right sides stays as it is.

    >>> centre_square(np.arange(8, dtype=np.uint8).reshape(2, 4), 2)
    array([[1, 2],
           [5, 6]], dtype=uint8)
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side == size:
        return square
    from PIL import Image

    if square.dtype == np.uint8:
        return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR))
    planes = np.moveaxis(np.atleast_3d(square), 2, 0).astype(np.float32)
    scaled = [np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.BILINEAR)) for p in planes]
    values: NDArray[np.uint16] = np.rint(np.stack(scaled, axis=2)).astype(np.uint16)
    return values if pixels.ndim == 3 else values[..., 0]


@contextmanager
def _opened(file: Path) -> "Iterator[ImageFile]":
    """Open a picture; whatever a damaged file raises within becomes a `ValueError`."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            yield image
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # damaged files raise many kinds
        raise ValueError(str(error) or type(error).__name__) from error


def _code(image: "ImageFile") -> str:
    """Return Pillow's name of how pixels are stored, such as `"RGB;16B"`."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _read_as(image: "ImageFile", code: str) -> None:
    """Make Pillow take the stored pixels for something else of the same length."""
    image.tile = [
        tile._replace(args=(code, *tile.args[1:]) if isinstance(tile.args, tuple) else code) for tile in image.tile
    ]


def _is_gray(image: "ImageFile") -> bool:
    if image.mode == "P" and image.palette is not None:
        order, data = image.palette.getdata()
        size = len(order.split(";")[0])  # RGB, BGRX, or RGB;L: all reds, all greens, all blues
        colours = np.frombuffer(bytes(data), np.uint8)
        colours = colours.reshape(size, -1).T if order.endswith(";L") else colours.reshape(-1, size)
        return bool((colours[:, :3] == colours[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I") or _code(image).startswith("LA")


def _bits(image: "ImageFile") -> int:
    code = _code(image)
    if image.mode == "F" or (image.mode == "I" and not code.startswith("I;16")) or code.endswith("S"):
        raise ValueError("its pixels are signed or of more than 16 bits, expected 8 or 16 bits: convert it")
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    if tags.get(PLANAR) == 2 and max(tags.get(BITS, (8,))) > 8:  # Pillow reads something else
        raise ValueError("its colours of 16 bits are stored in separate planes: save it with interleaved colours")
    deep = image.mode.startswith("I") or code.startswith(("RGB;16", "RGBA;16", "RGBX;16", "LA;16"))
    return 16 if deep else 8


def _convert(image: "Image", channels: int) -> NDArray[np.uint8]:
    return np.array(image.convert("L" if channels == 1 else "RGB"))
