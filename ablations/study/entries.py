"""What lies at the names that a study writes, and what of it may be removed: its own files, and nothing else."""

import errno
import os
import re
import shutil
import stat
from collections.abc import Collection
from contextlib import suppress
from itertools import count
from pathlib import Path

from convnext_path.files import digest, read_regular

ID = r"[0-9a-f]{16}"  # of a trial


def list_entries(folder: Path, names: str) -> list[Path]:
    """What ``folder`` has under names that a regular expression describes, sorted, whatever lies there.

    None where there is no such folder. Raises an OSError where it cannot be read.
    """
    try:
        return sorted(folder / name for name in os.listdir(folder) if re.fullmatch(names, name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def list_folders(folder: Path) -> list[Path]:
    """The folders named by an id in ``folder``, sorted; links to folders are not."""
    return [entry for entry in list_entries(folder, ID) if entry.is_dir() and not entry.is_symlink()]


def list_others(folder: Path, files: str = "(?!)", folders: Collection[Path] = ()) -> list[str]:
    """The names in ``folder`` but for regular files that an expression describes, and for some folders."""
    return [
        entry.name
        for entry in list_entries(folder, "(?s:.*)")
        if entry.is_symlink()
        or not (entry.is_dir() if entry in folders else entry.is_file() and re.fullmatch(files, entry.name))
    ]


def is_file(file: Path) -> bool:
    """Whether something lies there that may be replaced or removed: a regular file or a link, and nothing else."""
    try:
        mode = file.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def remove(file: Path) -> None:
    """Remove a file or a link; anything else stays. Raises an OSError."""
    if is_file(file):
        file.unlink(missing_ok=True)


def put_aside(entry: Path, aside: Path) -> Path:
    """Move what lies there, whatever it is, into ``aside``, under a name of its own. Raises an OSError."""
    aside.mkdir(exist_ok=True)
    content = None
    with suppress(OSError):
        content = read_regular(entry)
    mark = "unread" if content is None else digest(content)[:8]
    for number in count(1):
        place = aside / f"{entry.stem}-{mark}{f'-{number}' if number > 1 else ''}{entry.suffix}"
        if not os.path.lexists(place) or (content is not None and has_content(place, content)):
            return move(entry, place)
    raise AssertionError  # numbers do not end


def move(entry: Path, place: Path) -> Path:
    """Move what lies there, from one file system to another too. Raises an OSError."""
    try:
        return entry.replace(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    return Path(shutil.move(entry, place))


def has_content(file: Path, content: bytes) -> bool:
    """Whether a file, or what a link points to, has that content."""
    try:
        return read_regular(file) == content
    except OSError:
        return False


def clear(entry: Path, aside: Path) -> None:
    """Put aside what lies there, if anything does. Raises an OSError."""
    if os.path.lexists(entry):
        put_aside(entry, aside)


def make_room(file: Path, aside: Path) -> None:
    """Put aside what cannot be replaced by a file: a folder, a pipe, a device. Raises an OSError."""
    if os.path.lexists(file) and not is_file(file):
        put_aside(file, aside)
