"""One image file as pixels: which formats are read, how they are turned, and what becomes of each kind of pixel."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

#: What a file may hold, whatever its name says, where this Pillow has it: pictures that Pillow decodes by itself. Not
#: PostScript and Windows metafiles (other programs draw them), video, or scientific arrays (BUFR, FITS, GRIB, HDF5,
#: SPIDER), whose scale Pillow does not read. Those without a signature of their own come last.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "AVIF", "JPEG2000", "QOI", "DDS", "PSD"),
    *("SGI", "ICO", "CUR", "ICNS", "BLP", "FTEX", "FLI", "DCX", "SUN", "MSP", "PCD", "PIXAR", "XPM", "XBM", "IM"),
    *("PCX", "TGA"),
)
#: Of these, which have pictures one after another; the others have several of one thing, such as its sizes or layers.
SEQUENCES = ("AVIF", "DCX", "FLI", "GIF", "PNG", "TIFF", "WEBP")

#: Which channels show the range: not alpha, unless colors were multiplied by it.
COLORS = {"RGBA": slice(3), "RGBa": slice(3, 4), "LA;1": slice(3)}

#: What to do with 16-bit images that cannot be read.
REMEDY = "store it as RGB or as gray, unsigned, with the colors of a pixel side by side"


class TiffTags:
    """Numbers of TIFF's fields."""

    BITS, MEANING, PLANES, NUMBERS = 258, 262, 284, 339


Pixels = np.ndarray[Any, np.dtype[np.int64]]

#: Where Pillow keeps what may hold a tag of orientation, of all formats but TIFF.
METADATA = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}

#: How to turn an image, by its orientation tag.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: The ranges that cameras and scanners have, as bits of a pixel that is stored in 16.
BITS = (8, 10, 12, 14, 16)

#: Of colors of 16 bits Pillow keeps the higher byte, by the first of these names; the second gives the lower one.
BYTES = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if np.little_endian else "L"))
}


#: What Pillow multiplies gray of few bits by, by how it is stored; a color that a PNG calls transparent it leaves.
STRETCHED = {"L;2": 85, "L;4": 17}


@cache
def find_formats() -> tuple[str, ...]:
    """Of :data:`FORMATS`, those that this Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def find_endings() -> tuple[str, ...]:
    """How names of their files end, in lower case. What cameras call MPO is read as JPEG."""
    known = Image.registered_extensions().items()
    return tuple(sorted(ending for ending, name in known if name in (*find_formats(), "MPO")))


def open_image(file: BinaryIO) -> Image.Image:
    """An image whose pixels are not read yet.

    Raises:
        ValueError: pixels that Pillow would take for others. PIL raises much else where the file holds no image.
    """
    image = Image.open(file, formats=find_formats())
    if reason := find_misread(image):
        raise ValueError(f"{reason}, which cannot be read; {REMEDY}")
    if isinstance(clear := image.info.get("transparency"), int):
        image.info["transparency"] = clear * STRETCHED.get(find_rawmode(image), 1)
    return image


def find_misread(image: Image.Image) -> str:
    """What of a 16-bit image Pillow passes over without a word; empty for all other images."""
    if image.mode == "RGB" and find_rawmode(image) in BYTES and "transparency" in image.info:
        return "16-bit colors of which one is transparent"
    tags = getattr(image, "tag_v2", {})
    if max(tags.get(TiffTags.BITS, (8,))) != 16:
        return ""
    if tags.get(TiffTags.PLANES) == 2 and not image.mode.startswith("I"):
        return "16-bit colors in planes"
    if tags.get(TiffTags.MEANING) == 0:
        return "16-bit pixels of which 0 is white"
    return "signed 16-bit pixels" if 2 in tags.get(TiffTags.NUMBERS, ()) else ""


def decode(file: BinaryIO, bits: int = 16) -> Tensor:
    """An image as a uint8 RGB tensor of (3, H, W), turned as its orientation tag says; of several frames the first.

    What is transparent shows white, as in most viewers. Pixels stored in 16 bits are scaled: ``2**bits - 1`` becomes
    255; 0 says that the range is not known.

    Raises:
        ValueError: pixels that are no integers of 16 bits, or whose range is not known. PIL raises much else where a
            file is damaged.
    """
    image = open_image(file)
    rawmode = find_rawmode(image)
    if not bits and is_deep(image, rawmode):
        raise ValueError("16-bit pixels, whose range is not known unless images are checked (--check-images headers)")
    if bits < 16 and rawmode in BYTES:
        image = load_deep(image, file, bits)
    pixels: Tensor = pil_to_tensor(to_rgb(turn(load(image)), bits))
    return pixels


def load_deep(image: Image.Image, file: BinaryIO, bits: int) -> Image.Image:
    """Colors stored in 16 bits, of which Pillow keeps 8: read for either byte, joined, and scaled; alpha as it is."""
    file.seek(0)
    other = open_image(file)
    other.tile = [tile._replace(args=swap_bytes(tile.args)) for tile in other.tile]  # type: ignore[attr-defined]
    low = np.asarray(load(other)).astype(np.int64)
    file.seek(0)
    pixels = np.array(load(image))
    colors = (..., slice(3))
    pixels[colors] = scale(pixels[colors].astype(np.int64) * 256 + low[colors], bits)
    image.im = Image.fromarray(pixels).im
    return image


def swap_bytes(args: Any) -> Any:
    """What a decoder is told, but for which byte to keep."""
    return (swap_bytes(args[0]), *args[1:]) if isinstance(args, tuple) else BYTES[args]


def load(image: Image.Image) -> Image.Image:
    """Read the pixels of the first frame."""
    image.load()
    return image


def turn(image: Image.Image) -> Image.Image:
    """As its orientation tag says, if that can be read; Pillow has turned TIFF already, and removed the tag."""
    if not METADATA & image.info.keys():  # as most: to ask takes a tenth of a small image's time
        return image
    try:
        tag: Any = image.getexif().get(ExifTags.Base.Orientation)
        method = TURNS.get(tag)
    except Exception:  # noqa: BLE001 - readers of metadata fail on damaged ones in every way
        return image
    return image if method is None else image.transpose(method)


def to_rgb(image: Image.Image, bits: int) -> Image.Image:
    """Three channels of 8 bits from any mode. Raises a ValueError for pixels whose range is not known."""
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is not known; store them as integers of 8 or 16 bits")
    if image.mode.startswith("I"):
        image = to_8_bits(image, bits)
    elif image.mode == "LAB":
        image = lab_to_rgb(image)
    elif image.has_transparency_data:
        image = lay_on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def lay_on_white(image: Image.Image) -> Image.Image:
    """An image with transparent parts as it looks on white; a TGA without a visible pixel has no alpha.

    Such files have a spare byte where alpha would be, and say so in their header, which Pillow passes over.
    """
    whole = image.convert("RGBA")
    if image.format == "TGA" and whole.getchannel("A").getextrema() == (0, 0):
        return whole
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), whole)


def to_8_bits(image: Image.Image, bits: int) -> Image.Image:
    """Gray of up to 16 bits, rounded to 8; white where it is transparent."""
    pixels = read_gray(image)
    scaled = scale(pixels, bits)
    scaled[pixels == image.info.get("transparency")] = 255
    return Image.fromarray(scaled)


def read_gray(image: Image.Image) -> Pixels:
    """The pixels of a gray image of (H, W). Raises a ValueError where 16 bits do not hold them."""
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        found = f"{pixels.min()} to {pixels.max()}"
        raise ValueError(f"pixels of more than 16 bits ({found}); store them as integers of 0 to 65535")
    return pixels


def scale(pixels: Pixels, bits: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """To the nearest of 0 to 255, where ``2**bits - 1`` becomes 255."""
    top = 2**bits - 1
    scaled: np.ndarray[Any, np.dtype[np.uint8]] = ((pixels * 255 + top // 2) // top).clip(0, 255).astype(np.uint8)
    return scaled


def lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    assert converted is not None
    return converted


def is_deep(image: Image.Image, rawmode: str) -> bool:
    """Whether an image stores a pixel in 16 bits."""
    return rawmode.endswith((";16B", ";16L", ";16N")) or image.mode.startswith("I")


def find_bits(image: Image.Image, rawmode: str = "") -> int:
    """The least of :data:`BITS` that hold the largest pixel of a loaded image; 0 where pixels are stored in 8 bits.

    Raises:
        ValueError: pixels use a part of their 16 bits, and Pillow reads no more than the higher byte.
    """
    if not is_deep(image, rawmode):
        return 0
    if image.mode.startswith("I"):
        largest = int(read_gray(image).max())
    else:
        bands = np.atleast_2d(image.getextrema())[COLORS.get(rawmode[:4], slice(None)), 1]
        largest = int(bands.max()) * 256 + 255
    bits = next(bits for bits in BITS if largest < 2**bits)
    if bits < 16 and rawmode not in BYTES and not image.mode.startswith("I"):
        raise ValueError(f"16-bit pixels ({rawmode}) that use {bits} bits, of which 8 can be read; {REMEDY}")
    return bits


def find_rawmode(image: Image.Image) -> str:
    """How an image that is not loaded yet stores a pixel, by Pillow's name for it; empty where it has none."""
    tiles = getattr(image, "tile", None)
    codec, args = (tiles[0][0], tiles[0][3]) if tiles else ("", "")
    parts: Sequence[Any] = args if isinstance(args, tuple) and args else (args,)
    # Of these Pillow tells no name: it keeps the higher byte.
    is_deep = codec == "SGI16" or (codec in ("ppm", "ppm_plain") and parts[-1] > 255)
    return f"{parts[0]} {codec};16B" if is_deep else str(parts[0])


def is_sequence(image: Image.Image) -> bool:
    """Whether pictures come after the first."""
    try:
        return image.format in SEQUENCES and bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001 - what comes next is damaged, and not used
        return False


@contextmanager
def ignored_warnings() -> Iterator[None]:
    """Of large images and odd metadata: an image is good if it can be decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
