"""From the bytes of a picture's file to colour, 0 to 255; or a few words that say why not."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401  (registers them)

from pixelvae.machine.errors import UserError

BACKGROUND = 255  # white: what shows through transparent pixels
_MOST_PIXELS = 1 << 26  # of a picture when it is decoded: it has three bytes each
_MOST_REDUCED = 1 << 28  # of one that is decoded at a half, a quarter or an eighth of its size
_OPAQUE = {"1", "L", "CMYK", "YCbCr", "HSV", "RGBX"}  # beside RGB and P
_WITH_ALPHA = {"LA", "PA", "RGBA"}
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_SCALED_BY = {"1": 255, "L;2": 85, "L;4": 17}  # by how the pixels lie in the file
_SIXTEEN_BITS = {"I", "I;16", "I;16B", "I;16L", "I;16N"}


class DamagedPicture(UserError):
    """One picture of many cannot be used; the others may be, if whoever asked wants that."""

    def __init__(self, picture: str, problem: object) -> None:
        message = f"{picture} {problem}: get it again, or leave damaged pictures out"
        super().__init__(message, setting="skip_damaged")


class UnusablePicture(ValueError):
    """What is wrong with a picture, in a few words that follow its name."""


def decode(content: bytes, *formats: str, least: int = 1) -> Image.Image:
    """The picture in a file's bytes, in colour; of these formats alone.

    A JPEG of more pixels than are kept in memory comes at a half, a quarter or an eighth of its
    size, if its shorter side then has ``least`` pixels: sensors have 100 million and more.

    Raises
    ------
    UnusablePicture
        It is none, damaged, or in no mode that can be shown in colour.
    """
    names = " or ".join(formats)
    try:
        image = _opened(content, formats)
        width, height = image.size
        if width * height > _MOST_PIXELS and not _reduce(image, least):
            raise UnusablePicture(f"has {width}×{height} pixels, which is too many")
        packing = str(image.tile[0][3]) if image.tile else ""
        image.load()
        if "transparency" in image.info:
            if packing == "RGB;16B":  # of which Pillow keeps the upper bytes
                raise UnusablePicture("has a transparent colour of 16 bits: store it with alpha")
            if packing in _SCALED_BY:  # which it has done to the pixels alone
                image.info["transparency"] *= _SCALED_BY[packing]
        return in_colour(image)
    except (MemoryError, UnusablePicture):
        raise
    except Exception as problem:  # parsers raise what they like on bytes without sense
        # Pillow names the object that it reads from if it finds no picture at all.
        reason = "" if isinstance(problem, Image.UnidentifiedImageError) else f" ({problem})"
        what = f"is damaged or no {names} image{reason}" if content else "is empty"
        raise UnusablePicture(what) from problem


def _opened(content: bytes, formats: Sequence[str]) -> Any:
    """As `Image.open`, without its limit of pixels: that is a setting of the whole process."""
    for name in formats:
        factory, accepts = Image.OPEN[name]
        if accepts and accepts(content[:16]) is True:
            return factory(io.BytesIO(content), "")
    raise Image.UnidentifiedImageError


def _reduce(image: Image.Image, least: int) -> bool:
    """Have a picture decoded at a smaller size, if its format can do that."""
    width, height = image.size
    if width * height > _MOST_REDUCED:
        return False
    for scale in (2, 4, 8):
        size = (width // scale, height // scale)
        if size[0] * size[1] <= _MOST_PIXELS and min(size) >= least:
            image.draft(None, size)
            return image.size != (width, height)
    return False


def in_colour(image: Image.Image) -> Image.Image:
    """A loaded picture of any mode as RGB.

    Grey and palette pictures become colour, 16 bits are scaled to 8, and transparent pixels show
    a white background.

    Raises
    ------
    UnusablePicture
        The mode has no colours of 0 to 255 that could be meant (floating point, Lab).
    """
    mode, transparency = image.mode, image.info.get("transparency")
    if mode in _SIXTEEN_BITS:
        return _scaled(image, transparency)
    if mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[mode])
    if image.mode in _WITH_ALPHA or transparency is not None and mode in {"1", "L", "P", "RGB"}:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
        return Image.alpha_composite(background, image).convert("RGB")
    if mode == "RGB":
        return image
    if mode == "P" or mode in _OPAQUE:
        return image.convert("RGB")
    raise UnusablePicture(f"is of mode {mode}, which has no colours of 0 to 255: convert it")


def _scaled(image: Image.Image, transparency: object) -> Image.Image:
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise UnusablePicture(f"has values from {grey.min()} to {grey.max()}, not 0 to 65535")
    scaled = ((grey * 255 + 32767) // 65535).astype(np.uint8)
    if transparency is not None:
        scaled[grey == transparency] = BACKGROUND
    return Image.fromarray(scaled).convert("RGB")


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """The square in the centre of a picture as size×size pixels, by the mean over areas.

    Raises
    ------
    UnusablePicture
        The picture is smaller.
    """
    side = min(image.size)
    if side < size:
        raise UnusablePicture(f"has {image.width}×{image.height} pixels, fewer than {size}×{size}")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BOX, box)


def channels_first(image: Image.Image) -> np.ndarray:
    """A colour picture as uint8 (3, H, W)."""
    return np.asarray(image).transpose(2, 0, 1)
