"""What the image files of a folder are, found before the first step: each is read, or its header, or none.

A file's stamp tells whether it is still the one that was looked at (:class:`convnext_path.data.folders.FileImages`).
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from PIL import UnidentifiedImageError

from convnext_path.data import decoding
from convnext_path.data.listing import Listing
from convnext_path.data.selection import Check
from convnext_path.files import digest_open, open_regular, recall, remember
from convnext_path.frozen import Frozen
from convnext_path.words import show_name

#: A folder of more files, or of more bytes, is checked by headers unless another check is asked for: to decode so many
#: takes about two minutes on two cores, whether they are photos or thumbnails.
FULL_FILES, FULL_BYTES = 100_000, 8 * 2**30

#: Digits of a content's SHA-256 that are kept a file, to tell whether two are the same.
DIGITS = 16

#: What the system says of a file itself; Pillow says nothing there.
LASTING = {
    *(None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.EINVAL, errno.EFBIG),
}

#: A file's size in bytes, the times of its last change and of its last renaming or the like (ns), and its inode.
Stamp = tuple[int, int, int, int]
Stamps = np.ndarray[Any, np.dtype[np.int64]]  # (files, 4)
GONE: Stamp = (-1, -1, -1, -1)

#: What hears how far a scan is: images looked at, and of how many.
Report = Callable[[int, int], None]
_report: ContextVar[Report | None] = ContextVar("report", default=None)


@dataclass(frozen=True)
class Scan(Frozen):
    """What a look at every image of a folder found.

    Args:
        digest: sha256 over the good images: the path in the folder, which begins with the class, and the content.
            Where contents were not read, size and time of change (s) stand for them, and the check's name comes first.
        side: the median of their short sides in pixels, 0 if there are none or they were not opened.
        bad: the path in the folder of each other image, and what is wrong with it.
        bits: of :data:`convnext_path.data.decoding.BITS`, those that hold the largest pixel that is stored in 16 bits;
            0 where none is.
        sequences: images that are the first of several in their file.
        contents: the first :data:`DIGITS` of each good image's sha256, one after another; empty if they were not read.
    """

    digest: str
    side: int
    bad: tuple[tuple[str, str], ...]
    bits: int = 0
    sequences: int = 0
    contents: str = ""

    def list_contents(self) -> list[str]:
        """The digits of each good image; none where contents were not read."""
        return [self.contents[start : start + DIGITS] for start in range(0, len(self.contents), DIGITS)]


class Look(NamedTuple):
    """What one file is, or what is wrong with it."""

    side: int = 0  # the shorter one, pixels
    content: str = ""  # its sha256
    fault: str = ""
    bits: int = 0
    sequence: bool = False
    stamp: Stamp = GONE


@contextmanager
def reported(report: Report) -> Iterator[None]:
    """Let ``report`` hear of scans in the meantime."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def choose_check(listings: Sequence[Listing]) -> Check:
    """Every file decoded, or in large folders the headers alone. The same on every machine: a digest hangs on it."""
    if sum(len(listing.files) for listing in listings) > FULL_FILES:
        return "headers"
    size = sum(max(stamp(listing.folder / file)[0], 0) for listing in listings for file in listing.files)
    return "headers" if size > FULL_BYTES else "full"


def scan_images(listing: Listing, check: Check) -> tuple[Scan, Stamps]:
    """Look at every file, on all cores, unless that was done before and the files are as they were then.

    Returns:
        What was found, and the stamps of the very files in which it was.
    """
    stamps = [stamp(listing.folder / file) for file in listing.files]
    known = load_scan(listing_key(listing, check, stamps))
    if known is not None:
        return known, stack(stamps)
    if check == "none":
        return Scan(digest_stamps(check, listing.files, stamps), 0, ()), stack(stamps)
    looks = look_at_all([listing.folder / file for file in listing.files], check)
    stamps = [seen.stamp for seen in looks]
    scan = sum_up(listing.files, looks, check)
    remember(listing_key(listing, check, stamps), scan.to_dict())
    return scan, stack(stamps)


def stack(stamps: Sequence[Stamp]) -> Stamps:
    return np.asarray(stamps, dtype=np.int64).reshape(-1, 4)


def look_at_all(paths: Sequence[Path], check: Check) -> list[Look]:
    looks, report = [], _report.get()
    with decoding.ignored_warnings(), ThreadPool() as pool:
        for seen in pool.imap(partial(look, check=check), paths, chunksize=16):
            looks.append(seen)
            if report and (len(looks) % 100 == 0 or len(looks) == len(paths)):
                report(len(looks), len(paths))
        pool.close()
        pool.join()  # loader processes are forked later: no thread may be left
    return looks


def sum_up(files: Sequence[str], looks: Sequence[Look], check: Check) -> Scan:
    """What the looks at all files come to."""
    good = [(file, seen) for file, seen in zip(files, looks, strict=True) if not seen.fault]
    bad = tuple((file, seen.fault) for file, seen in zip(files, looks, strict=True) if seen.fault)
    if check == "full":
        pairs = hashlib.sha256()
        for file, seen in good:
            pairs.update(os.fsencode(f"{file}\0{seen.content}\0"))
        digest = pairs.hexdigest()
    else:
        digest = digest_stamps(check, [file for file, _ in good], [seen.stamp for _, seen in good])
    return Scan(
        digest,
        side=int(np.median([seen.side for _, seen in good])) if good else 0,
        bad=bad,
        bits=max((seen.bits for _, seen in good), default=0),
        sequences=sum(seen.sequence for _, seen in good),
        contents="".join(seen.content[:DIGITS] for _, seen in good),
    )


def digest_stamps(check: Check, files: Sequence[str], stamps: Sequence[Stamp]) -> str:
    """A digest of images that were not read, which says so: a copy has it too if it has kept the times, in seconds."""
    digest = hashlib.sha256()
    for file, (size, changed, *_) in zip(files, stamps, strict=True):
        digest.update(os.fsencode(f"{file}\0{size}\0{changed // 10**9}\0"))
    return f"{check}:{digest.hexdigest()}"


def look(path: Path, check: Check = "full") -> Look:
    """Read a file, or its header. Raises an OSError where that fails for what may pass, as a lack of memory."""
    before = GONE
    try:
        with open_regular(path) as file:
            before = stamp_open(file)
            if not before[0]:
                return Look(fault="empty", stamp=before)
            seen = LOOKS[check](file)
            fault = "" if stamp_open(file) == before else "it changed while it was read"
            return seen._replace(stamp=before, fault=seen.fault or fault)
    except Exception as error:  # noqa: BLE001 - decoders fail on damaged files in every way
        if may_pass(error):
            code = getattr(error, "errno", errno.ENOMEM)
            raise OSError(code, f"{show_name(path)} cannot be read: {describe(error)}") from None
        return Look(fault=describe(error), stamp=stamp(path) if before == GONE else before)


def look_inside(file: BufferedReader) -> Look:
    content = digest_open(file)
    image = decoding.open_image(file)
    rawmode = decoding.find_rawmode(image)
    bits = decoding.find_bits(decoding.load(image), rawmode)
    decoding.to_rgb(decoding.turn(image), bits)
    return Look(min(image.size), content, bits=bits, sequence=decoding.is_sequence(image))


def look_at_header(file: BufferedReader) -> Look:
    """What an image says that it is; pixels are read where they are of 16 bits, for their range."""
    image = decoding.open_image(file)
    rawmode = decoding.find_rawmode(image)
    deep = decoding.is_deep(image, rawmode)
    bits = decoding.find_bits(decoding.load(image), rawmode) if deep else 0
    return Look(min(image.size), bits=bits, sequence=decoding.is_sequence(image))


LOOKS: dict[str, Callable[[BufferedReader], Look]] = {"full": look_inside, "headers": look_at_header}


def may_pass(error: Exception) -> bool:
    """Whether an error tells of the machine, and not of a file: the same file may be read next time."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in LASTING)


def describe(error: Exception) -> str:
    """What is wrong with a file, in a line."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, UnidentifiedImageError):
        return "no image"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return show_name(" ".join(reason.split()))


def stamp(path: Path) -> Stamp:
    """What a file's stamp is now; :data:`GONE` where there is none. Raises an OSError that may pass."""
    try:
        return make_stamp(path.stat())
    except OSError as error:
        if may_pass(error):
            raise
        return GONE


def stamp_open(file: BufferedReader) -> Stamp:
    return make_stamp(os.fstat(file.fileno()))


def make_stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def listing_key(listing: Listing, check: Check, stamps: Sequence[Stamp]) -> str:
    """A hash of what a scan's outcome depends on, as far as the file system can tell without reading."""
    kind = f"scan 4\0{check}\0{PIL.__version__}\0{listing.folder.resolve()}"
    digest = hashlib.sha256(os.fsencode(kind))
    for file, (size, changed, moved, _) in zip(listing.files, stamps, strict=True):
        digest.update(os.fsencode(f"\0{file}\0{size} {changed} {moved}"))
    return digest.hexdigest()


def load_scan(key: str) -> Scan | None:
    """What an earlier scan found, if it can be read."""
    try:
        return Scan.from_dict(recall(key))
    except (ValueError, TypeError):  # nothing there, or something else
        return None
