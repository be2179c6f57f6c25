"""Folders of images: what counts as a class and as an image, every file read once before it is relied on."""

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2.functional import pil_to_tensor

from convnext_path.files import recall, remember
from convnext_path.frozen import Frozen
from convnext_path.words import shorten

#: Names of splits, not of classes.
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}

#: What a file may hold, whatever its name says. Not all that PIL knows: for PostScript it runs another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

#: A folder that takes about so many bytes when decoded is kept in memory, by each process that reads it.
KEPT_BYTES = 2**28


@dataclass(frozen=True)
class Scan(Frozen):
    """What reading every image of a folder found.

    Args:
        digest: sha256 over the good images: the path in the folder, which begins with the class, and the content.
        side: the median of their short sides in pixels, 0 if there are none.
        bad: the path in the folder of each other image, and what is wrong with it.
    """

    digest: str
    side: int
    bad: tuple[tuple[str, str], ...]


class FileImages:
    """The good images of a folder, decoded to uint8 tensors of (3, H, W) when asked for; small ones once.

    Args:
        folder: where the images are.
        files: their paths in it, each beginning with the class; they are scanned, and the bad ones left out.
        classes: the label is the class's place in them.
    """

    def __init__(self, folder: Path, files: Sequence[str], classes: Sequence[str]) -> None:
        self.folder, self.scan = folder, scan_images(folder, files)
        bad, index = dict(self.scan.bad), {name: i for i, name in enumerate(classes)}
        self.files = [file for file in files if file not in bad]
        self.labels = np.asarray([index[class_of(file)] for file in self.files], dtype=np.int64)
        self.small = len(self.files) * 3 * self.scan.side**2 <= KEPT_BYTES
        self.kept: dict[int, Tensor] = {}

    def __getitem__(self, index: int) -> Tensor:
        if index in self.kept:
            return self.kept[index]
        with ignored_warnings(), open(self.folder / self.files[index], "rb") as file:
            image = decode(file)
        if self.small:
            self.kept[index] = image
        return image


def open_images(folders: Sequence[Path], classes: Sequence[str], skip_bad: bool) -> list[FileImages]:
    """All images in the class folders of each folder, every one of them read.

    Raises:
        ValueError: a class folder without images, or, naming them, bad images that are not to be skipped.
    """
    listings = [list_images(folder, classes) for folder in folders]
    found = [FileImages(folder, files, classes) for folder, files in zip(folders, listings, strict=True)]
    bad = [f"{images.folder / file} ({fault})" for images in found for file, fault in images.scan.bad]
    if bad and not skip_bad:
        raise ValueError(f"bad images (skip_bad_images leaves them out): {shorten(bad, 20)}")
    for images in found:
        require_images(images.folder, (class_of(file) for file, _ in images.scan.bad), images.files, "good images")
    return found


def find_classes(folder: Path) -> tuple[str, ...]:
    """The class folders' names, sorted; hidden ones do not count. A ValueError where there are none."""
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise ValueError(f"{folder} has no class folders")
    if splits := SPLITS.intersection(name.lower() for name in classes):
        allowed = "splits are named train/ and val/ or test/"
        raise ValueError(f"{folder} has {', '.join(sorted(splits))} where classes are looked for; {allowed}")
    return tuple(classes)


def list_images(folder: Path, classes: Iterable[str]) -> list[str]:
    """The paths in ``folder`` of the image files under those class folders that are there, sorted.

    Raises:
        ValueError: a class folder without images, or one that cannot be read.
    """
    there = [name for name in sorted(classes) if (folder / name).is_dir()]
    files = [os.path.relpath(file, folder) for name in there for file in walk_class(folder, name)]
    require_images(folder, there, files)
    return files


def walk_class(folder: Path, name: str) -> list[str]:
    """The image files under a class folder, sorted by folder, then by name; hidden files and folders do not count.

    Links are followed, but a folder is entered once, and none that the class folder lies in: links may go in circles.
    """
    top, found = folder / name, []
    seen = {*map(str, top.resolve().parents), os.path.realpath(folder)}
    for place, subfolders, names in os.walk(top, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(sub for sub in subfolders if not sub.startswith("."))
        found += [(place, n) for n in names if n.lower().endswith(IMG_EXTENSIONS) and not n.startswith(".")]
    return [os.path.join(*pair) for pair in sorted(found)]


def refuse(error: OSError) -> None:
    raise ValueError(f"{error.filename} cannot be read: {error.strerror}")


def class_of(file: str) -> str:
    return file.split(os.sep, 1)[0]


def require_images(folder: Path, names: Iterable[str], files: Iterable[str], what: str = "images") -> None:
    """Raise a ValueError naming the classes of ``names`` that none of ``files`` is of."""
    if empty := sorted(set(names) - set(map(class_of, files))):
        raise ValueError(f"no {what} in {shorten([str(folder / name) for name in empty], 3)}")


def scan_images(folder: Path, files: Sequence[str]) -> Scan:
    """Read and decode every file, on all cores, unless that was done before and the files are as they were then."""
    key = listing_key(folder, files)
    known = load_scan(key)
    if known is not None:
        return known
    with ignored_warnings(), ThreadPool() as pool:
        looks = pool.map(look, [folder / file for file in files])
        pool.close()
        pool.join()  # loader processes are forked later: no thread may be left
    digest = hashlib.sha256()
    for file, (_, content, fault) in zip(files, looks, strict=True):
        digest.update(b"" if fault else os.fsencode(f"{file}\0{content}\0"))
    sides = [seen.side for seen in looks if not seen.fault]
    bad = tuple((file, seen.fault) for file, seen in zip(files, looks, strict=True) if seen.fault)
    scan = Scan(digest.hexdigest(), int(np.median(sides)) if sides else 0, bad)
    remember(key, scan.to_dict())
    return scan


class Look(NamedTuple):
    """An image's short side in pixels and its content's sha256, or what is wrong with it."""

    side: int = 0
    content: str = ""
    fault: str = ""


def look(path: Path) -> Look:
    try:
        if path.exists() and not path.is_file():
            return Look(fault="not a file")  # a pipe would be waited for without end
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
            if not file.tell():
                return Look(fault="empty")
            return Look(min(decode(file).shape[1:]), content)
    except UnidentifiedImageError:
        return Look(fault="no image")
    except Exception as error:  # noqa: BLE001 - decoders fail on damaged files in every way
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Look(fault=" ".join(reason.split()))


def decode(file: BinaryIO) -> Tensor:
    """An image as a uint8 RGB tensor of (3, H, W).

    What is transparent shows white, as in most viewers. 16-bit grey is scaled: 65535 becomes 255.

    Raises:
        ValueError: pixels that are no integers of 16 bits. PIL raises much else where a file is damaged.
    """
    image: Image.Image = Image.open(file, formats=FORMATS)
    image.load()
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    if image.mode.startswith("I"):
        image = to_8_bits(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels: Tensor = pil_to_tensor(image.convert("RGB"))
    return pixels


def to_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, rounded to 8."""
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("pixels of more than 16 bits")
    return Image.fromarray(((pixels + 128) // 257).astype(np.uint8))


@contextmanager
def ignored_warnings() -> Iterator[None]:
    """Of large images and odd metadata: an image is good if it can be decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def listing_key(folder: Path, files: Iterable[str]) -> str:
    """A hash of what a scan's outcome depends on, as far as the file system can tell without reading."""
    digest = hashlib.sha256(os.fsencode(f"{PIL.__version__}\0{folder.resolve()}"))
    for file in files:
        digest.update(os.fsencode(f"\0{file}\0{stamp(folder / file)}"))
    return digest.hexdigest()


def stamp(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return "none"
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"  # the last tells when permissions were mended


def load_scan(key: str) -> Scan | None:
    """What an earlier scan found, if it can be read."""
    try:
        return Scan.from_dict(recall(key))
    except (ValueError, TypeError):  # nothing there, or something else
        return None
