"""Files that are there whole or not at all, that show damage, and that only one process holds."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

DRAFT = "."  # what a write that never ended left behind starts with it


def digest(content: bytes) -> str:
    """The SHA-256 of ``content``, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_whole(file: Path, content: bytes, durable: bool = True) -> None:
    """Write by way of a draft in the same folder, so that no kill leaves half a file. Raises an OSError.

    ``durable``: wait for the disk, so that a power cut after the call takes nothing either.
    """
    draft = file.with_name(f"{DRAFT}{file.name}.{os.getpid()}")
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OSError(error.errno, f"cannot write {file}: {error.strerror}") from None


def remove_drafts(folder: Path, name: str = "") -> None:
    """Clear what unfinished writes of ``name`` (or of any file) left in ``folder``."""
    for draft in folder.glob(f"{DRAFT}{name}*"):
        draft.unlink(missing_ok=True)


@contextmanager
def hold(file: Path) -> Iterator[bool]:
    """Hold ``file`` as a lock; gives False where another process does. The system frees it when its holder ends.

    The file names its holder, and is gone once it is let go.
    """
    stream = _lock(file)
    if stream is None:
        time.sleep(0.1)  # someone may just be asking whether it is held
        stream = _lock(file)
    if stream is None:
        yield False
        return
    with stream:
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {os.uname().nodename} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        stream.flush()
        try:
            yield True
        finally:
            file.unlink(missing_ok=True)


def is_held(file: Path) -> bool:
    """Whether a living process holds ``file``."""
    if not file.exists():
        return False
    stream = _lock(file)
    if stream is not None:
        stream.close()
    return stream is None


def _lock(file: Path) -> IO[str] | None:
    """The locked file, open; None where another process has it."""
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("a")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(stream.fileno()).st_ino == file.stat().st_ino:
                return stream
        except BlockingIOError:
            stream.close()
            return None
        except FileNotFoundError:
            pass  # its holder let it go, and removed it, between our two steps: lock the next one
        stream.close()
