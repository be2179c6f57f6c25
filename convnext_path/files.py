"""Files that are there whole or not at all, read without waiting; and the cache of what can be made again."""

import errno
import hashlib
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from convnext_path.trust import UntrustedError, check_folder, find_stranger, make_private

LARGEST = 2**28  # bytes that are read at once; a text that is larger is not one of ours
LONGEST = 2**34  # bytes that are read one after another; some files of the system's own have no end

KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def digest(content: bytes) -> str:
    """The SHA-256 of ``content``, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest_file(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises an OSError, as :func:`read_regular`."""
    with open_regular(file) as stream:
        return digest_open(stream)


def digest_open(stream: BufferedReader) -> str:
    """The SHA-256 of what comes next in a regular file, in hexadecimal: no more than the file says that it holds.

    Raises:
        OSError: that is more than :data:`LONGEST` bytes.
    """
    left, found = os.fstat(stream.fileno()).st_size, hashlib.sha256()
    check_size(left, LONGEST, stream.name)
    while left > 0 and (part := stream.read(min(left, 2**18))):
        found.update(part)
        left -= len(part)
    return found.hexdigest()


def check_size(size: int, limit: int, file: Path | str) -> None:
    """Raise an OSError where a file has more bytes than are read."""
    if size > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", str(file))


def check_regular(mode: int, file: Path) -> None:
    """Raise an OSError where a file's mode is not that of a regular file."""
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"it is {KINDS.get(stat.S_IFMT(mode), 'a device')}", str(file))


def open_regular(file: Path) -> BufferedReader:
    """A regular file, or one behind a link, open to read: a pipe or a device is never opened, or waited for.

    Raises:
        OSError: there is none, or it cannot be read; ``strerror`` says why.
    """
    check_regular(file.stat().st_mode, file)
    stream = open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    try:
        check_regular(os.fstat(stream.fileno()).st_mode, file)  # it may have been replaced since
    except OSError:
        stream.close()
        raise
    return stream


def read_regular(file: Path, limit: int = LARGEST) -> bytes:
    """What a regular file holds.

    Raises:
        OSError: it cannot be read, is something else, or has more than ``limit`` bytes; ``strerror`` says which.
    """
    with open_regular(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        check_size(size, limit, file)
        return stream.read(size)


def read_text(file: Path) -> str:
    """A text in UTF-8, other bytes replaced. Raises an OSError, as :func:`read_regular`."""
    return read_regular(file).decode(errors="replace")


def parse_json(content: bytes, finite: bool = False) -> Any:
    """What JSON stands for; ``finite``: without NaN and infinity. Raises a ValueError for all that it cannot be."""
    try:
        number = _parse_finite if finite else float
        return json.loads(content, object_pairs_hook=_pair, parse_float=number, parse_constant=number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _pair(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of pairs whose names differ."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it has {name!r} twice")
        found[name] = value
    return found


def _parse_finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it holds {text}, which is not a finite number")
    return number


def make_absolute(place: str) -> str:
    """A path as it is found from any folder. A link keeps its name, unless ``..`` stands behind one: then it matters
    where the link leads.
    """
    place = os.path.expanduser(place)
    parts = Path(place).parts
    kept = len(parts) - parts[::-1].index("..") if ".." in parts else 0
    return os.path.join(os.path.realpath(Path(*parts[:kept])), *parts[kept:]) if kept else os.path.abspath(place)


def write_whole(file: Path, content: bytes, durable: bool = True) -> None:
    """Write by way of a draft in the same folder, so that no kill leaves half a file. Raises an OSError.

    A link is replaced, not followed. What killed writes of the file left behind is cleared.
    ``durable``: wait for the disk, so that a power cut after the call takes nothing either.
    """
    remove_drafts(file.parent, re.escape(file.name))
    draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
    opened = False
    try:
        with open(draft, "wb", opener=open_own) as stream:
            opened = True
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        draft.replace(file)
    except OSError as error:
        if opened:  # else what lies there is not ours
            with suppress(OSError):
                draft.unlink()
        raise OSError(error.errno, f"cannot write {file}: {error.strerror}") from None


def open_own(file: str, flags: int) -> int:
    """An opener of files that we write: it follows no link, and waits for no pipe."""
    return os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def remove_drafts(folder: Path, names: str) -> None:
    """Clear what unfinished writes left in ``folder``, of files whose names a regular expression describes.

    A draft is called ``.NAME.PROCESS.draft``, is a regular file, and its process is gone.
    """
    draft = re.compile(rf"\.(?:{names})\.(?P<process>\d{{1,9}})\.draft")
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = draft.fullmatch(entry.name)
            if found and entry.is_file(follow_symlinks=False) and _is_gone(int(found["process"])):
                with suppress(OSError):
                    os.unlink(entry)


def _is_gone(process: int) -> bool:
    """Whether a draft of that process stays one: it has ended, or is this one, whose writes come one by one."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return process == os.getpid()


def cache_file(name: str) -> Path:
    """The place of something that can be made again; it need not be there. A RuntimeError where there is no home."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(chosen if os.path.isabs(chosen) else "~/.cache")  # a relative one is to be ignored, says XDG
    return root.expanduser() / "convnext-path" / name


def keep(file: Path, content: bytes) -> None:
    """Write a file of the cache, which nobody else can write.

    Raises:
        UntrustedError: others may write into its folder, or into one above.
        OSError: it cannot be written.
    """
    try:
        make_private(file.parent)
        check_folder(file.parent)
        with tempfile.TemporaryDirectory(prefix=".", dir=file.parent) as folder:
            draft = Path(folder) / file.name
            draft.write_bytes(content)
            draft.chmod(0o600)
            draft.replace(file)
    except UntrustedError:
        raise
    except OSError as error:
        raise OSError(error.errno, f"cannot write {file}: {error.strerror}") from None


def recall(name: str) -> Any:
    """What the cache holds in JSON under a name; None where there is nothing that can be read, or others may write."""
    try:
        file = cache_file(f"{name}.json")
        return parse_json(read_regular(file)) if file.is_file() and not find_stranger(file) else None
    except (OSError, ValueError, RuntimeError):  # no such file, or damaged, or no home
        return None


def remember(name: str, content: Any) -> None:
    """Keep what JSON takes in the cache, whole or not at all; where that cannot be, it is made again next time."""
    with suppress(OSError, RuntimeError):
        keep(cache_file(f"{name}.json"), json.dumps(content).encode())
