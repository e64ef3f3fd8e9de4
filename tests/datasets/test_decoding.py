"""Every mode of picture that Pillow knows becomes colour as it is meant, or is refused by name."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from pixelvae.datasets import decoding
from pixelvae.datasets.decoding import UnusablePicture, centre_square, decode, in_colour

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.random.RandomState(0).randint(256, size=(16, 16, 3)).astype(np.uint8)
REFUSED = {"F", "LAB", "BGR;15", "BGR;16", "BGR;24"}


def chunk(kind, content):
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(bits, kind, row, *chunks, width=2):
    """A PNG file of one row, written here and not by Pillow."""
    header = struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0)
    body = b"".join(chunk(name, content) for name, content in chunks)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body
        + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )  # fmt: skip


def pixels(content):
    return np.asarray(decode(content, "PNG"))[0].tolist()


@pytest.mark.parametrize("mode", [*Image.MODES, "BGR;15", "BGR;16", "BGR;24"])
@pytest.mark.filterwarnings("ignore:BGR")
def test_every_mode_becomes_colour_or_is_refused_by_name(mode):
    try:
        image = Image.new(mode, (4, 3))
    except ValueError:
        assert mode.startswith("BGR")
        pytest.skip(f"this Pillow has no mode {mode}")
    if mode in REFUSED:
        with pytest.raises(UnusablePicture, match=f"is of mode {mode}"):
            in_colour(image)
    else:
        assert (in_colour(image).mode, in_colour(image).size) == ("RGB", (4, 3))


def test_modes_without_alpha_keep_their_colours():
    colours, grey = Image.fromarray(COLOURS), Image.fromarray(GREY)
    np.testing.assert_array_equal(in_colour(colours), COLOURS)
    np.testing.assert_array_equal(np.asarray(in_colour(grey))[..., 1], GREY)
    np.testing.assert_array_equal(in_colour(colours.convert("RGBX")), COLOURS)
    np.testing.assert_array_equal(in_colour(colours.convert("CMYK")), COLOURS)
    for mode, most in (("YCbCr", 3), ("HSV", 6)):
        turned = np.asarray(in_colour(colours.convert(mode)), int)
        assert np.abs(turned - COLOURS).max() <= most
    palette = colours.quantize(256)
    np.testing.assert_array_equal(in_colour(palette), np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(np.unique(in_colour(grey.convert("1"))), [0, 255])


def test_sixteen_bits_are_scaled_to_eight():
    values = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    expected = np.round(values / 65535 * 255)
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    for image in (
        decode(out.getvalue(), "PNG"),
        in_colour(Image.fromarray(values.astype(np.int32))),
    ):
        np.testing.assert_array_equal(np.asarray(image), np.repeat(expected[..., None], 3, 2))
    with pytest.raises(UnusablePicture, match="values from -1 to 70000, not 0 to 65535"):
        in_colour(Image.fromarray(np.array([[-1, 70000]], np.int32)))


def test_transparency_shows_white():
    alpha = Image.fromarray(GREY)
    colours = Image.fromarray(COLOURS)
    colours.putalpha(alpha)
    share = GREY[..., None] / 255
    expected = share * COLOURS + (1 - share) * 255
    assert np.abs(np.asarray(in_colour(colours), float) - expected).max() <= 1
    premultiplied = np.asarray(in_colour(colours.convert("RGBa")), float)
    assert np.abs(premultiplied - expected)[GREY > 64].max() <= 4  # of few levels by then
    both = Image.merge("LA", (alpha, alpha))
    expected = share * GREY[..., None] + (1 - share) * 255
    assert np.abs(np.asarray(in_colour(both), float) - expected).max() <= 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(16, 0, struct.pack(">2H", 0x1234, 65535)), [18, 255]),
        (png(16, 4, struct.pack(">4H", 1000, 0, 65535, 65535)), [255, 255]),
        (png(16, 0, struct.pack(">2H", 700, 701), (b"tRNS", struct.pack(">H", 700))), [255, 3]),
        (png(8, 0, bytes([7, 8]), (b"tRNS", struct.pack(">H", 7))), [255, 8]),
        (png(4, 0, b"\x12", (b"tRNS", struct.pack(">H", 1))), [255, 34]),
        (png(2, 0, b"\x60", (b"tRNS", struct.pack(">H", 1))), [255, 170]),
        (png(1, 0, b"\x40", (b"tRNS", struct.pack(">H", 0))), [255, 255]),
        (png(2, 0, b"\x60"), [85, 170]),
        (png(8, 3, b"\0\1", (b"PLTE", bytes(3) + b"\7\7\7"), (b"tRNS", b"\0")), [255, 7]),
    ],
)  # fmt: skip
def test_grey_and_palette_files_of_all_depths(content, expected):
    assert pixels(content) == [[value] * 3 for value in expected]


def test_colour_files_with_transparency():
    key = (b"tRNS", struct.pack(">3H", 1, 2, 3))
    assert pixels(png(8, 2, bytes([1, 2, 3, 4, 5, 6]), key)) == [[255] * 3, [4, 5, 6]]
    sixteen = struct.pack(">6H", 0x1234, 0x80FF, 0xFFFF, 0, 0, 0)
    assert pixels(png(16, 2, sixteen)) == [[0x12, 0x80, 0xFF], [0, 0, 0]]
    with pytest.raises(UnusablePicture, match="a transparent colour of 16 bits"):
        pixels(png(16, 2, sixteen, key))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"hello", "is damaged or no PNG image"), (png(8, 0, b"12")[:-30], "damaged")],
)  # fmt: skip
def test_what_is_no_picture_says_so_without_addresses(content, words):
    with pytest.raises(UnusablePicture, match=words) as raised:
        decode(content, "PNG")
    assert "object at 0x" not in str(raised.value) and "\n" not in str(raised.value)


def test_the_square_in_the_centre():
    image = Image.fromarray(COLOURS)
    np.testing.assert_array_equal(centre_square(image, 16), COLOURS)
    wide = Image.fromarray(np.concatenate([COLOURS * 0, COLOURS, COLOURS * 0], axis=1))
    np.testing.assert_array_equal(centre_square(wide, 16), COLOURS)
    with pytest.raises(UnusablePicture, match="has 16×16 pixels, fewer than 32×32"):
        centre_square(image, 32)


def photograph(width, height, file_format, **options):
    """A file with a gradient from left to right, of any size."""
    row = np.linspace(0, 255, width).astype(np.uint8)[None]
    out = io.BytesIO()
    Image.fromarray(row).resize((width, height)).save(out, file_format, **options)
    return out.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_is_decoded_at_a_smaller_size(monkeypatch, progressive):
    content = photograph(640, 400, "JPEG", quality=95, progressive=progressive)
    whole = np.asarray(centre_square(decode(content, "JPEG"), 16), int)
    for most, width in [(320 * 200, 320), (320 * 200 - 1, 160), (160 * 100 - 1, 80)]:
        monkeypatch.setattr(decoding, "_MOST_PIXELS", most)
        image = decode(content, "JPEG", least=16)
        assert image.width == width
        assert np.abs(np.asarray(centre_square(image, 16), int) - whole).max() <= 2
    with pytest.raises(UnusablePicture, match="has 640×400 pixels, which is too many"):
        decode(content, "JPEG", least=51)


def test_two_hundred_megapixels():
    content = photograph(16320, 12240, "JPEG")
    assert decode(content, "JPEG", least=64).size == (8160, 6120)


@pytest.mark.parametrize("size", [(12000, 9000), (20000, 15000), (65000, 65000)])
def test_what_cannot_be_reduced_is_told_by_its_size(size):
    lines = f"has {size[0]}×{size[1]} pixels, which is too many"
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnusablePicture, match=lines):
            decode(b"\x89PNG\r\n\x1a\n" + body, "PNG")


def test_pillows_own_limit_is_left_to_other_programs():
    assert Image.MAX_IMAGE_PIXELS == 89478485
