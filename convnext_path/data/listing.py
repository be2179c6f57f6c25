"""Which files of a tree of folders are images, and of which class; none is opened here."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from unicodedata import normalize

from convnext_path.data.decoding import find_endings
from convnext_path.files import read_regular
from convnext_path.words import shorten, show_name

#: Names of splits, not of classes.
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}

#: What file managers leave everywhere, beside hidden files: nobody asks after it.
CLUTTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}

#: How names of archives end: images in them are not read.
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")

#: Folders that systems make for themselves, in lower case: of thumbnails, of what was deleted, of shared storage and of
#: notebooks, archives and caches. Their images are copies, or nobody's.
SYSTEM = {
    *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "$recycle.bin", "system volume information"),
    *("lost+found", "__macosx", "__pycache__", "recycler", "found.000"),
}


@dataclass(frozen=True)
class Listing:
    """The image files of a split.

    Args:
        folder: what holds the class folders.
        files: the images' paths in it, each beginning with its class folder, sorted.
        left_out: how many files beside them are not read, by the ending of their names.
        loose: how many images are in no class folder.
    """

    folder: Path
    files: Sequence[str]
    left_out: Mapping[str, int]
    loose: int


def find_splits(root: Path) -> list[Path]:
    """The folders that hold class folders: the training and the validation split's, or ``root`` alone.

    Raises:
        ValueError: no such folder, no validation split beside ``train/``, or one of the names is no folder's.
    """
    if not root.is_dir():
        raise ValueError(f"no folder {show_name(root)}")
    if not is_folder(root / "train"):
        return [root]
    for name in ("val", "test"):
        if is_folder(root / name):
            return [root / "train", root / name]
    raise ValueError(f"{show_name(root)} has train/ but neither val/ nor test/")


def is_folder(path: Path) -> bool:
    """Whether there is a folder. Raises a ValueError where there is anything else, a link to nowhere among it."""
    if os.path.lexists(path) and not path.is_dir():
        raise ValueError(f"{show_name(path)} is neither a folder nor a link to one")
    return path.is_dir()


def list_folders(folder: Path) -> list[str]:
    """The names of the folders in ``folder`` that people made, sorted. Raises a ValueError."""
    try:
        return sorted(p.name for p in folder.iterdir() if not is_passed_over(p.name) and p.is_dir())
    except OSError as error:
        refuse(error)


def is_passed_over(name: str) -> bool:
    """Whether a folder is hidden, or a system's own."""
    return name.startswith(".") or name.lower() in SYSTEM


def find_classes(folder: Path) -> tuple[str, ...]:
    """The class folders' names, sorted; hidden ones do not count. A ValueError where there are none, or lost ones."""
    classes = list_folders(folder)
    if lost := sorted(p.name for p in folder.iterdir() if not (is_passed_over(p.name) or p.exists())):
        raise ValueError(f"{show_name(folder)} has broken links: {shorten(lost, 20)}")
    if not classes:
        packed = sorted(p.name for p in folder.iterdir() if p.name.lower().endswith(ARCHIVES))
        there = f", but archives: unpack {shorten(packed, 5)}" if packed else ""
        raise ValueError(f"{show_name(folder)} has no class folders{there}")
    if splits := [name for name in classes if name.lower() in SPLITS]:
        allowed = "splits are named train/ and val/ or test/"
        raise ValueError(f"{show_name(folder)} has {', '.join(splits)} where class folders are expected; {allowed}")
    return tuple(classes)


def list_images(folder: Path) -> Listing:
    """The image files under the class folders of ``folder``. Raises a ValueError where one cannot be read."""
    files: list[str] = []
    others: list[str] = []
    endings = find_endings()
    for name in find_classes(folder):
        for file in walk_class(folder, name):
            (files if file.lower().endswith(endings) else others).append(file)
    left_out = Counter(os.path.splitext(file)[1].lower() for file in others if not is_clutter(file))
    return Listing(folder, files, left_out, count_loose(folder))


def is_clutter(file: str) -> bool:
    return os.path.basename(file).lower() in CLUTTER


def count_loose(folder: Path) -> int:
    """How many images lie in a folder itself, beside those in it."""
    endings = find_endings()
    with os.scandir(folder) as entries:
        return sum(e.name.lower().endswith(endings) and not e.name.startswith(".") and e.is_file() for e in entries)


def walk_class(folder: Path, name: str) -> list[str]:
    """The files under a class folder, by their paths in ``folder``, sorted by folder, then by name.

    Hidden files and folders and those of systems do not count. Links are followed, but a folder is entered once, and
    none that the class folder lies in: links may go in circles.

    Raises:
        ValueError: a folder cannot be read, or holds a study, whose charts are no images to learn from.
    """
    top, found = folder / name, []
    seen = {*map(str, top.resolve().parents), os.path.realpath(folder)}
    for place, subfolders, names in os.walk(top, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(sub for sub in subfolders if not is_passed_over(sub))
        if "study.json" in names:
            refuse_study(Path(place))
        inside = os.path.relpath(place, folder)
        found += [(inside, n) for n in names if not n.startswith(".")]
    return [os.path.join(*pair) for pair in sorted(found)]


def refuse_study(folder: Path) -> None:
    """Raise a ValueError where the study that a folder holds is one of ours."""
    with suppress(OSError):
        if b'"rungs"' in read_regular(folder / "study.json", 2**20):
            raise ValueError(f"{show_name(folder)} is a study among the images; move it elsewhere")


def refuse(error: OSError) -> NoReturn:
    raise ValueError(f"{show_name(error.filename)} cannot be read: {error.strerror}")


def class_of(file: str) -> str:
    """The class folder that a path begins with."""
    return file.split(os.sep, 1)[0]


def require_images(listing: Listing, names: Iterable[str], files: Iterable[str], what: str = "images") -> None:
    """Raise a ValueError naming the classes of ``names`` that none of ``files`` is of, and what is there instead."""
    if empty := sorted(set(names) - set(map(class_of, files))):
        refuse_empty(listing, [listing.folder / name for name in empty], what)


def refuse_empty(listing: Listing, places: Sequence[Path], what: str = "images") -> NoReturn:
    """Raise a ValueError that names folders without images, and what is there instead."""
    there = f" ({'; '.join(notes)})" if (notes := note_left_out([listing])) else ""
    raise ValueError(f"no {what} in {shorten([*map(str, places)], 3)}{there}")


def match_classes(listing: Listing, training: Path, classes: Sequence[str]) -> dict[str, int]:
    """The label of each class folder that has images: the place in ``classes`` of the name, or of one that reads alike.

    An accent may be part of its letter, or stand behind it as a sign of its own: that depends on who wrote the folder.

    Raises:
        ValueError: images of a class that ``training`` lacks.
    """
    labels = {normalize("NFC", name): label for label, name in enumerate(classes)}
    labels |= {name: label for label, name in enumerate(classes)}
    names = sorted(set(map(class_of, listing.files)))
    found = {name: labels.get(name, labels.get(normalize("NFC", name))) for name in names}
    if unknown := [name + hint(name, classes) for name, label in found.items() if label is None]:
        here, there = show_name(listing.folder), show_name(training)
        raise ValueError(f"{here} has classes that {there} lacks: {shorten(unknown, 20)}")
    return {name: label for name, label in found.items() if label is not None}


def hint(name: str, classes: Sequence[str]) -> str:
    """The class whose name looks like ``name``, if there is one, in brackets."""
    alike = [one for one in classes if fold(one) == fold(name)]
    return f" (there it is {shorten(alike, 3)})" if alike else ""


def fold(name: str) -> str:
    """The same for names that look alike: capitals, spaces and forms of letters aside."""
    return " ".join(normalize("NFKC", name).casefold().split())


def note_names(classes: Sequence[str]) -> list[str]:
    """A line that names classes whose names look alike, if there are any."""
    counts = Counter(map(fold, classes))
    alike = sorted((name for name in classes if counts[fold(name)] > 1), key=fold)
    return [f"classes whose names look alike: {shorten([*map(spell_out, alike)], 20)}"] if alike else []


def spell_out(name: str) -> str:
    """A name, with the codes of its letters where they are not ASCII: two that look the same are told apart."""
    return name if name.isascii() else f"{name} ({ascii(name)[1:-1]})"


def note_places(root: Path, used: Sequence[Path]) -> list[str]:
    """Lines on what lies in ``root`` beside the splits that are used, where that may surprise."""
    if len(used) == 1:
        return []
    others = [name for name in list_folders(root) if root / name not in used]
    notes, splits = [], f"train/ and {used[-1].name}/"
    if "test" in others:
        notes.append("val/ validates; test/ beside it is not used")
    if loose := [name for name in others if name != "test"]:
        notes.append(f"folders beside {splits} are not used: {shorten(loose, 5)}")
    if images := count_loose(root):
        notes.append(f"images left out, beside {splits}: {images}")
    return notes


def note_left_out(listings: Sequence[Listing]) -> list[str]:
    """Lines that count the files which are not read as images, by ending, and images in no class, if there are any."""
    counts = sum((Counter(listing.left_out) for listing in listings), Counter[str]())
    kinds = [f"{ending or 'without an ending'} {count}" for ending, count in counts.most_common()]
    notes = [f"files left out, of kinds that are not read: {shorten(kinds, 8)}"] if kinds else []
    if loose := sum(listing.loose for listing in listings):
        notes.append(f"images left out, beside the class folders: {loose}")
    return notes
