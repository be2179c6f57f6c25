"""Folders of images, opened: every file looked at before it is relied on, and held to what it was then."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from convnext_path.data import listing
from convnext_path.data.decoding import decode, ignored_warnings
from convnext_path.data.listing import Listing, class_of
from convnext_path.data.scanning import (
    DIGITS,
    Scan,
    Stamps,
    choose_check,
    describe,
    may_pass,
    scan_images,
    stamp_open,
)
from convnext_path.data.selection import Check
from convnext_path.files import digest_open, open_regular
from convnext_path.words import shorten, show_name

T = TypeVar("T")

#: A folder that takes about so many bytes when decoded is kept in memory, by each process that reads it; never more.
KEPT_BYTES = 2**28


class ImageFileError(ValueError):
    """A file that holds no good image, in a line that names it.

    A loader worker's is made again in the training's process, from its traceback: the last line is the message.
    """

    def __init__(self, message: str) -> None:
        last = (message.splitlines() or [""])[-1]
        _, _, told = last.partition(f"{type(self).__name__}: ")
        super().__init__(told or last)


class ImagesChangedError(ImageFileError):
    """A file that is not what it was when the images were checked."""


class FileImages:
    """The good images of a folder, decoded to uint8 tensors of (3, H, W) when asked for; small ones once.

    Args:
        listing: the files.
        labels: of their class folders, by name.
        scan, stamps: what was found in the files, and of which: those that are bad are left out.
    """

    def __init__(self, listing: Listing, labels: Mapping[str, int], scan: Scan, stamps: Stamps) -> None:
        self.folder, self.scan = listing.folder, scan
        bad = dict(scan.bad)
        good = [place for place, file in enumerate(listing.files) if file not in bad]
        self.files, self.stamps = [listing.files[place] for place in good], stamps[good]
        self.labels = np.asarray([labels[class_of(file)] for file in self.files], dtype=np.int64)
        self.contents = scan.list_contents()
        self.bits = scan.bits  # of pixels that are stored in 16; 0 if there are none, or if that is not known
        self.room = KEPT_BYTES if 0 < len(self.files) * 3 * scan.side**2 <= KEPT_BYTES else 0
        self.kept: dict[int, Tensor] = {}

    def __getitem__(self, index: int) -> Tensor:
        if index in self.kept:
            return self.kept[index]
        image = self.read(index, partial(decode, bits=self.bits))
        if image.nbytes <= self.room:
            self.kept[index] = image
            self.room -= image.nbytes
        return image

    def read(self, index: int, how: Callable[[BufferedReader], T]) -> T:
        """What ``how`` makes of a file, if that is still the one which was checked.

        Raises:
            ImagesChangedError: it is another, or gone.
            ImageFileError: it is bad, if it was not read before, but its header at most; or it cannot be read now.
        """
        path = self.folder / self.files[index]
        try:
            with ignored_warnings(), open_regular(path) as file:
                try:
                    result = how(file)
                except Exception as error:  # noqa: BLE001 - decoders fail on damaged files in every way
                    self._compare(index, file)
                    what = "cannot be read" if may_pass(error) else "is a bad image"
                    raise ImageFileError(f"{show_name(path)} {what}: {describe(error)}") from None
                self._compare(index, file)
        except (OSError, MemoryError) as error:
            if may_pass(error):
                raise ImageFileError(f"{show_name(path)} cannot be read: {describe(error)}") from None
            raise ImagesChangedError(f"{show_name(path)} was there when it was checked: {describe(error)}") from None
        return result

    def _compare(self, index: int, file: BufferedReader) -> None:
        """Raise an ImagesChangedError where a file's stamp is another and, if that is known, its content too."""
        here, there = stamp_open(file), tuple(self.stamps[index].tolist())
        if here == there:
            return
        if self.contents:
            file.seek(0)
            same = digest_open(file)[:DIGITS] == self.contents[index]
            same = same and stamp_open(file) == here
        else:  # renamed, perhaps, or with other rights
            same = (here[:2], here[3]) == (there[:2], there[3])
        if not same:
            path = show_name(self.folder / self.files[index])
            raise ImagesChangedError(f"{path} has changed since the images were checked")
        self.stamps[index] = here


class Folders(NamedTuple):
    """The classes, the images of the training split and of the validation split, if there is one, and notes."""

    classes: tuple[str, ...]
    images: list[FileImages]
    notes: tuple[str, ...]


def open_folders(root: Path, skip_bad: bool, check: Check | None) -> Folders:
    """All images of a tree with ``train/`` and ``val/`` (or ``test/``), or of class folders alone.

    Args:
        root: the tree.
        skip_bad: leave bad images out.
        check: how files are checked; None for what suits their number.

    Raises:
        ValueError: a class without images to train, a split without images, or, naming them, bad images that are not
            to be skipped.
    """
    folders = listing.find_splits(root)
    listings = [listing.list_images(folder) for folder in folders]
    classes = listing.find_classes(folders[0])
    check = check or choose_check(listings)
    found = [open_listing(one, folders[0], classes, check) for one in listings]
    bad = [f"{images.folder / file} ({fault})" for images in found for file, fault in images.scan.bad]
    if bad and not skip_bad:
        raise ValueError(f"bad images (skip_bad_images leaves them out): {shorten(bad, 20)}")
    listing.require_images(listings[0], classes, found[0].files, "good images")
    if not found[-1].files:
        raise ValueError(f"no good images in {show_name(folders[-1])}")
    bits = max(images.scan.bits for images in found)
    for images in found:
        images.bits = bits
    places = (*listing.note_left_out(listings), *listing.note_places(root, folders), *listing.note_names(classes))
    return Folders(classes, found, (*note_scans([images.scan for images in found]), *note_check(check, found), *places))


def open_listing(listed: Listing, training: Path, classes: Sequence[str], check: Check) -> FileImages:
    """The images of a split whose training images are in ``training``. Raises a ValueError where there are none."""
    if listed.folder == training:
        listing.require_images(listed, classes, listed.files)
    elif not listed.files:
        listing.refuse_empty(listed, [listed.folder])
    labels = listing.match_classes(listed, training, classes)
    return FileImages(listed, labels, *scan_images(listed, check))


def note_scans(scans: Sequence[Scan]) -> list[str]:
    """Lines on what is unusual in the files themselves."""
    notes = []
    if bad := sum(len(scan.bad) for scan in scans):
        notes.append(f"bad images left out: {bad}")
    if sequences := sum(scan.sequences for scan in scans):
        notes.append(f"files with several pictures, of which the first is used: {sequences}")
    if 0 < (bits := max(scan.bits for scan in scans)) < 16:
        notes.append(f"16-bit images use {bits} bits: 0 to {2**bits - 1} becomes 0 to 255")
    return notes


def note_check(check: Check, found: Sequence[FileImages]) -> list[str]:
    """A line that says what is not known of the images, if they were not all decoded."""
    count = sum(len(images.files) for images in found)
    looked = {"headers": f"of {count} images the headers alone were read", "none": f"{count} images were not opened"}
    unknown = "a bad one ends its trial, and a change is seen by size and time (--check-images full decodes all)"
    return [f"{looked[check]}: {unknown}"] if check in looked else []
