import io
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from convnext_path.data.decoding import BITS, FORMATS, decode, find_endings, find_formats, ignored_warnings
from convnext_path.data.scanning import look
from convnext_path.data.selection import Check

#: 48 x 64, with a red top left, a green top right, a blue bottom left and a white bottom right: each turn shows.
PICTURE = Image.fromarray(
    np.kron([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.ones((24, 32, 1))).astype(np.uint8)
)
#: What stands in the corners (top left, top right, bottom left, bottom right) once the tag is obeyed.
TURNED = {1: "RGBW", 2: "GRWB", 3: "WBGR", 4: "BWRG", 5: "RBGW", 6: "BRWG", 7: "WGBR", 8: "GWRB"}
COLORS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def read(content: bytes, bits: int = 16) -> Tensor:
    with ignored_warnings():
        return decode(io.BytesIO(content), bits)


def find_color(pixel: Sequence[int]) -> str:
    return min(COLORS, key=lambda name: math.dist(COLORS[name], pixel))


def name_corners(image: Tensor) -> str:
    corners = [image[:, y, x].tolist() for y in (4, -5) for x in (4, -5)]
    return "".join(find_color(corner) for corner in corners)


def make_exif(tag: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = tag
    return exif


def make_xmp(tag: int) -> bytes:
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{tag}"/></x:xmpmeta>'.encode()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
@pytest.mark.parametrize("tag", TURNED)
def test_orientation_is_obeyed_once_in_every_format(kind: str, tag: int) -> None:
    if kind == "AVIF" and kind not in find_formats():
        pytest.skip("this Pillow has none")
    image = read(encode(PICTURE, kind, exif=make_exif(tag)))
    assert tuple(image.shape[1:]) == ((48, 64) if tag < 5 else (64, 48))
    assert name_corners(image) == TURNED[tag]


@pytest.mark.parametrize(("kind", "name"), [("JPEG", "xmp"), ("WEBP", "xmp")])
@pytest.mark.parametrize("tag", TURNED)
def test_orientation_in_xmp_is_obeyed(kind: str, name: str, tag: int) -> None:
    assert name_corners(read(encode(PICTURE, kind, **{name: make_xmp(tag)}))) == TURNED[tag]


HEAD = b"Exif\0\0II*\0\x08\0\0\0"
DAMAGED = {
    "cut in its header": HEAD[:12],
    "cut in its first entry": HEAD + b"\x01\0\x12\x01",
    "junk": b"Exif\0\0" + b"\xff" * 40,
    "empty": b"Exif\0\0",
    "something else": b"hello there, this is no exif",
    "a word": HEAD + b"\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0",
    "no such turn": HEAD + b"\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0",
    "a number that is not whole": HEAD + b"\x01\0\x12\x01\x05\0\x01\0\0\0\x80\0\0\0\0\0\0\0",
    "points nowhere": HEAD + b"\x01\0\x69\x87\x04\0\x01\0\0\0\xff\xff\xff\x7f\0\0\0\0",
    "points at itself": HEAD + b"\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0",
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_metadata_make_no_image_bad(kind: str, damage: str, tmp_path: Path) -> None:
    content = encode(PICTURE, kind, exif=DAMAGED[damage])
    assert name_corners(read(content)) == "RGBW"
    (tmp_path / "x").write_bytes(content)
    with ignored_warnings():
        assert look(tmp_path / "x").fault == ""


def add_to_tiff(content: bytes, entry: bytes) -> bytes:
    """A little-endian TIFF whose first directory, moved to the end, has one entry of 12 bytes more."""
    (place,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, place)
    entries = [content[place + 2 + 12 * i : place + 14 + 12 * i] for i in range(count)]
    entries = sorted([*entries, entry], key=lambda one: struct.unpack_from("<H", one))
    directory = struct.pack("<H", count + 1) + b"".join(entries) + b"\0\0\0\0"
    return content[:4] + struct.pack("<I", len(content)) + content[8:] + directory


@pytest.mark.parametrize(
    "entry",
    [
        struct.pack("<HHII", 274, 2, 4, 0x636261),  # a word
        struct.pack("<HHII", 274, 3, 1, 9),
        struct.pack("<HHII", 34665, 4, 1, 0x7FFFFFFF),  # details that are nowhere
        struct.pack("<HHII", 34665, 4, 1, 0),
        struct.pack("<HHII", 34665, 2, 4, 0x636261),
        struct.pack("<HHII", 34853, 4, 1, 3),
    ],
)
def test_damaged_metadata_make_no_tiff_bad(entry: bytes, tmp_path: Path) -> None:
    content = add_to_tiff(encode(PICTURE, "TIFF"), entry)
    assert name_corners(read(content)) == "RGBW"


def test_a_plain_jpeg_has_the_bits_that_pillow_gives() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8))
    content = encode(noise, "JPEG")
    assert torch.equal(read(content), pil_to_tensor(Image.open(io.BytesIO(content))))


def find_writable() -> list[tuple[str, str, str]]:
    """Of every format that is read and that Pillow writes: it, an ending and a mode."""
    known = Image.registered_extensions()
    modes = {"MSP": "1", "XBM": "1", "BLP": "P"}
    return [(known[e], e, modes.get(known[e], "RGB")) for e in find_endings() if known[e] in Image.SAVE]


@pytest.mark.parametrize(("kind", "ending", "mode"), find_writable())
def test_every_format_that_pillow_writes_is_read(kind: str, ending: str, mode: str, tmp_path: Path) -> None:
    file = tmp_path / f"x{ending}"
    with ignored_warnings():
        PICTURE.resize((64, 64)).convert(mode).save(file, kind)
        assert look(file).fault == ""
    image = read(file.read_bytes())
    assert image.shape[0] == 3
    assert image.shape[1] == image.shape[2]
    if mode == "RGB" and kind not in ("ICNS", "ICO"):
        assert name_corners(image) == "RGBW"


def test_formats_that_other_programs_draw_are_not_read() -> None:
    assert not {"EPS", "WMF", "PDF", "MPEG", "HDF5", "GRIB", "BUFR"} & {*FORMATS}
    assert {".jpg", ".png", ".gif", ".tga", ".jp2", ".qoi", ".mpo"} <= {*find_endings()}
    assert not {".eps", ".ps", ".pdf", ".wmf", ".txt", ".json", ".mpg", ".h5", ""} & {*find_endings()}


GREY = Image.new("L", (3, 3), 100)
MODES = {
    "1": ("PNG", Image.new("1", (3, 3), 1), (255, 255, 255)),
    "L": ("PNG", GREY, (100, 100, 100)),
    "LA": ("PNG", Image.new("LA", (3, 3), (100, 255)), (100, 100, 100)),
    "P": ("GIF", GREY.convert("P"), (100, 100, 100)),
    "CMYK": ("TIFF", Image.new("CMYK", (3, 3), (255, 0, 0, 0)), (0, 255, 255)),
    "YCbCr": ("TIFF", Image.new("YCbCr", (3, 3), (100, 128, 128)), (100, 100, 100)),
    "LAB": ("TIFF", Image.new("LAB", (3, 3), (255, 128, 128)), (255, 255, 255)),
    "I": ("TIFF", Image.new("I", (3, 3), 65535), (255, 255, 255)),
    "I;16": ("TIFF", Image.fromarray(np.full((3, 3), 65535, np.uint16)), (255, 255, 255)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind, image, color = MODES[mode]
    pixels = read(encode(image, kind)).flatten(1).unique(dim=1).flatten()
    assert (pixels - torch.tensor(color)).abs().max() <= 2


def test_the_first_of_several_pictures_is_taken(tmp_path: Path) -> None:
    others = [Image.new("RGB", PICTURE.size, color) for color in ("black", "white")]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        file = tmp_path / kind
        PICTURE.save(file, kind, save_all=True, append_images=others)
        assert look(file).sequence
        assert name_corners(read(file.read_bytes())) == "RGBW"
        PICTURE.save(file, kind)
        assert not look(file).sequence


def write_png(pixels: np.ndarray[Any, Any], clear: Sequence[int] = (), bits: int = 16) -> bytes:
    """A PNG of pixels of (H, W, 1 to 4) as Pillow does not write them; one color may be transparent."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + pack_bits(row.ravel(), bits) for row in pixels)
    transparency = chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)) if clear else b""
    chunks = chunk(b"IHDR", header) + transparency + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def pack_bits(row: np.ndarray[Any, Any], bits: int) -> bytes:
    """Numbers one after another, the highest bit first, up to a whole byte."""
    return np.packbits(row[:, None] >> np.arange(bits)[::-1] & 1).tobytes()


def write_tiff(pixels: np.ndarray[Any, Any], order: str, more: Mapping[int, int] | None = None) -> bytes:
    """A TIFF of 16-bit pixels of (H, W, channels), in either order of bytes; ``more``: fields, by number."""
    height, width, channels = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    fields = {256: width, 257: height, 258: 16, 259: 1, 262: 2, 273: 0, 277: channels, 278: height, 279: len(data)}
    fields |= more or {}
    at = 8 + 2 + 12 * len(fields) + 4
    fields[273] = at + 2 * channels
    counts = {258: channels}  # the one field that has a value for each
    if channels > 1:
        fields[258] = at
    entries = b"".join(write_entry(order, tag, 3, counts.get(tag, 1), n) for tag, n in sorted(fields.items()))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(fields))
    return head + entries + struct.pack(f"{order}I{channels}H", 0, *channels * [16]) + data


def write_entry(order: str, tag: int, kind: int, count: int, value: int) -> bytes:
    short = kind == 3 and count == 1
    return struct.pack(f"{order}HHIHH" if short else f"{order}HHII", tag, kind, count, value, *([0] if short else []))


def write_gray(pixels: np.ndarray[Any, Any]) -> bytes:
    return encode(Image.fromarray(pixels[..., 0].astype(np.uint16)), "PNG")


WRITERS = {
    "gray PNG": write_gray,
    "PNG": write_png,
    "PNG with alpha": lambda p: write_png(np.concatenate([p, np.full_like(p[..., :1], 65535)], axis=-1)),
    "TIFF": lambda p: write_tiff(p, "<"),
    "TIFF, big-endian": lambda p: write_tiff(p, ">"),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("bits", BITS)
def test_pixels_of_few_bits_in_16_use_their_range(kind: str, bits: int, tmp_path: Path) -> None:
    top = 2**bits - 1
    values: Sequence[int] = [0, top // 3, top // 2, top]
    pixels = np.asarray(values).reshape(2, 2, 1).repeat(3, axis=-1)
    content = WRITERS[kind](pixels)
    (tmp_path / "x").write_bytes(content)
    assert look(tmp_path / "x").bits == bits
    assert look(tmp_path / "x", check="headers").bits == bits
    image = read(content, bits)
    expected = [round(value * 255 / top) for value in values]
    assert (image.flatten(1) - torch.tensor(expected)).abs().max() <= 1  # of 16 bits Pillow keeps the higher byte
    if bits < 16:
        assert image.flatten(1).tolist() == [expected] * 3


def test_images_of_8_bits_have_no_range_to_find(tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "x.png")
    assert look(tmp_path / "x.png").bits == 0


DEEP = np.asarray([0, 1000, 2000, 4095]).reshape(2, 2, 1)  # 12 bits


def write_sgi(pixels: np.ndarray[Any, Any]) -> bytes:
    """An image of 16-bit pixels of (H, W, channels) as Silicon Graphics stored them, the last row first."""
    height, width, channels = pixels.shape
    head = struct.pack(">hBBHHHH", 474, 0, 2, min(channels, 3), width, height, channels)
    return head.ljust(512, b"\0") + np.moveaxis(pixels, -1, 0)[:, ::-1].astype(">u2").tobytes()


PPM = b"2 2 65535\n"
#: 16-bit pixels of which Pillow would give others, or too few bits, and what is said.
MISREAD = {
    "colors in planes": (write_tiff(DEEP.repeat(3, -1), "<", {284: 2}), "in planes"),
    "white is 0": (write_tiff(DEEP, "<", {262: 0}), "of which 0 is white"),
    "signed": (write_tiff(DEEP, "<", {262: 1, 339: 2}), "signed"),
    "signed, big-endian": (write_tiff(DEEP, ">", {262: 1, 339: 2}), "signed"),
    "a fourth channel": (write_tiff(DEEP.repeat(4, -1), "<", {338: 0}), "use 12 bits"),
    "premultiplied alpha": (write_tiff(DEEP.repeat(4, -1), ">", {338: 1}), "use 12 bits"),
    "CMYK": (write_tiff(DEEP.repeat(4, -1), "<", {262: 5}), "use 12 bits"),
    "PPM": (b"P6 " + PPM + DEEP.repeat(3, -1).astype(">u2").tobytes(), "of which 8 can be read"),
    "PPM in text": (b"P3 " + PPM + " ".join(map(str, DEEP.repeat(3, -1).ravel())).encode(), "of which 8 can be read"),
    "SGI": (write_sgi(DEEP.repeat(3, -1)), "use 12 bits"),
    "gray SGI": (write_sgi(DEEP), "use 12 bits"),
    "gray with alpha": (write_png(np.concatenate([DEEP, np.full_like(DEEP, 65535)], axis=-1)), "use 12 bits"),
    "a transparent color": (write_png(DEEP.repeat(3, -1), clear=(1000, 1000, 1000)), "of which one is transparent"),
}


@pytest.mark.parametrize("kind", MISREAD)
@pytest.mark.parametrize("check", ["full", "headers"])
def test_deep_pixels_that_pillow_misreads_are_refused(kind: str, check: Check, tmp_path: Path) -> None:
    content, reason = MISREAD[kind]
    (tmp_path / "x").write_bytes(content)
    fault = look(tmp_path / "x", check).fault
    assert reason in fault
    assert "store it as RGB or as gray" in fault


@pytest.mark.parametrize("kind", [*WRITERS, *MISREAD])
def test_deep_pixels_of_a_range_that_is_not_known_are_not_read(kind: str) -> None:
    content = MISREAD[kind][0] if kind in MISREAD else WRITERS[kind](DEEP.repeat(3, -1))
    with pytest.raises(ValueError, match="16-bit|16 bits"):
        read(content, bits=0)


def test_transparent_gray_is_white() -> None:
    assert read(write_png(DEEP, clear=(1000,)), bits=12)[0].tolist() == [[0, 255], [125, 255]]
    assert read(write_png(DEEP), bits=12)[0].tolist() == [[0, 62], [125, 255]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_transparent_gray_of_few_bits_is_white(bits: int, tmp_path: Path) -> None:
    top = 2**bits - 1
    for clear in (0, top // 3, top):
        content = write_png(np.asarray([[[0], [top // 3], [top]]]), clear=(clear,), bits=bits)
        expected = [255 if value == clear else value * 255 // top for value in (0, top // 3, top)]
        assert read(content).flatten(1).tolist() == [expected] * 3
        (tmp_path / "x").write_bytes(content)
        assert look(tmp_path / "x").fault == ""


def test_packed_colors_of_16_bits_are_not_deep(tmp_path: Path) -> None:
    masks = struct.pack("<IIII", 0xF800, 0x7E0, 0x1F, 0)
    head = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0) + masks
    start = 14 + len(head)
    content = b"BM" + struct.pack("<IHHI", start + 4, 0, 0, start) + head + struct.pack("<HH", 0xF800, 0x1F)
    (tmp_path / "x").write_bytes(content)
    assert (look(tmp_path / "x").bits, look(tmp_path / "x").fault) == (0, "")
    assert read(content, bits=0).flatten(1).tolist() == [[255, 0], [0, 0], [0, 255]]


def write_tga(kind: str, alpha: Sequence[int], packed: bool = False) -> bytes:
    """A TGA of a pixel for each ``alpha``, of colors, grays or a palette's colors, whose header says of no alpha."""
    pixels = Image.new("RGBA", (len(alpha), 1))
    pixels.putdata([(10 * i, 20, 30, a) for i, a in enumerate(alpha)])
    image = pixels.convert("LA") if kind == "LA" else pixels
    if kind == "P":
        image = Image.new("P", pixels.size)
        image.putdata(range(len(alpha)))
        image.putpalette([*pixels.tobytes()], "RGBA")
    content = bytearray(encode(image, "TGA", rle=packed))
    content[17] &= 0xF0
    return bytes(content)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_tga_without_a_visible_pixel_has_no_alpha(kind: str, packed: bool, tmp_path: Path) -> None:
    count = 256 if kind == "P" else 3
    content = write_tga(kind, [0] * count, packed)
    assert torch.equal(read(content), read(write_tga(kind, [255] * count, packed)))
    assert read(content)[:, 0, 1].tolist() == ([18, 18, 18] if kind == "LA" else [10, 20, 30])
    (tmp_path / "x").write_bytes(content)
    assert look(tmp_path / "x").fault == ""
    parts = read(write_tga(kind, [0] * (count - 1) + [255], packed))
    assert parts[:, 0, 1].tolist() == [255] * 3
    assert parts[:, 0, -1].tolist() == read(content)[:, 0, -1].tolist()


def test_other_formats_without_a_visible_pixel_are_white() -> None:
    clear = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    for kind in ("PNG", "TIFF"):
        assert read(encode(clear, kind)).unique().tolist() == [255]
