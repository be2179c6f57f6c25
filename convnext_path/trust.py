"""What others cannot have written: code from anywhere else is not run, and what it says is not believed."""

import errno
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_LINKS = 40  # as many as Linux follows
WRITTEN_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
NOBODY = 65534  # whose root's files seem to be in a container that has no root


class UntrustedError(OSError):
    """Others may write where something of ours was to be; the message says where, and what to do."""


def find_stranger(path: Path) -> str:
    """Where others may write, on the way to a file or in it, and what to do; empty if nowhere.

    Every folder from the root down counts, and every link with what it leads to: who may exchange one of them decides
    what lies there. Each must belong to root or to us and be writable by its owner alone; folders further up may be
    writable by all if they are sticky, as ``/tmp`` is. What is not there yet is passed over. As the way goes down,
    nobody else can exchange what has been looked at.

    Raises:
        OSError: what is on the way cannot be looked at.
    """
    for place, facts, left in walk(path):
        if facts.st_uid not in (0, os.geteuid()) and not is_hidden_root(place, facts.st_uid):
            return f"{place} belongs to {name_user(facts.st_uid)}: set XDG_CACHE_HOME to a folder of your own"
        if stat.S_ISLNK(facts.st_mode):  # its mode says nothing
            continue
        is_shelf = stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX and left > 1
        if facts.st_mode & WRITTEN_BY_OTHERS and not is_shelf:
            return f"others may write to {place}: chmod go-w {place}"
    return ""


def walk(path: Path) -> Iterator[tuple[Path, os.stat_result, int]]:
    """All that the system passes on its way to ``path``, as far as it is there: folders, links, and what is at the end.

    Gives what each is, and how many names are left to go from there.
    """
    left, here, links = [*reversed(path.absolute().parts)], Path(), 0
    while left:
        name = left.pop()
        if name == os.pardir:
            here = here.parent
            continue
        place = here / name
        try:
            facts = place.lstat()
        except FileNotFoundError:
            return
        yield place, facts, len(left)
        if not stat.S_ISLNK(facts.st_mode):
            here = place
            continue
        left += reversed(place.readlink().parts)
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def is_hidden_root(place: Path, owner: int) -> bool:
    """Whether an owner is root outside of a container that has no root: none but root can make a folder in ``/``."""
    return owner == NOBODY and place.parent == Path(place.anchor) and not has_root()


def has_root() -> bool:
    try:
        lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
        return any(line.split()[0] == "0" for line in lines)
    except OSError:  # no Linux
        return True


def name_user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for us alone. Raises an OSError."""
    for missing in [place for place in (*reversed(folder.parents), folder) if not place.exists()]:
        missing.mkdir(mode=stat.S_IRWXU, exist_ok=True)


def check_folder(folder: Path) -> None:
    """Refuse a folder in which others may exchange a file. Raises an UntrustedError, or another OSError."""
    if reason := find_stranger(folder / "any"):
        raise UntrustedError(reason)


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder that is ours alone, where the system has such; it is removed in the end. Raises as check_folder."""
    with tempfile.TemporaryDirectory() as name:
        check_folder(Path(name))
        yield Path(name)
