"""Files that one process holds at a time."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from convnext_path.files import check_regular, open_own, read_regular

#: What a study's driver holds, in the study's folder.
DRIVER = Path("running", "driver")

ATTEMPTS = 100  # to lock a file that others remove meanwhile
MOST = 1000  # bytes of what a lock says
SAID = "process "  # how that begins


def describe_driver(study: Path) -> str:
    """Who trains a study, as the one who comes second is told."""
    return f"{study} is being trained by {read_holder(study / DRIVER)}; wait, or help with --join"


def read_holder(file: Path) -> str:
    """What a lock says of its holder, in a line."""
    try:
        said = " ".join(read_regular(file, MOST).decode(errors="replace").split())
    except OSError:  # let go of just now, or not to be read
        said = ""
    return said or "another process"


@dataclass(frozen=True)
class Lock:
    """A file that this process holds."""

    file: Path
    stream: IO[str]

    def is_there(self) -> bool:
        """Whether the file still lies where it was made: a folder may be moved, and another made in its place."""
        try:
            return os.path.samestat(os.fstat(self.stream.fileno()), self.file.lstat())
        except OSError:
            return False


@contextmanager
def hold(file: Path) -> Iterator[Lock | None]:
    """Hold ``file`` as a lock; gives None where another process does. The system frees it when its holder ends.

    The file names its holder, and is gone once it is let go.

    Raises:
        OSError: it can be no lock of ours; what lies there is left alone.
    """
    stream = _lock(file)
    if stream is None:
        time.sleep(0.1)  # someone may just be asking whether it is held
        stream = _lock(file)
    if stream is None:
        yield None
        return
    with stream:
        stream.truncate(0)
        stream.write(f"{SAID}{os.getpid()} on {os.uname().nodename} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        stream.flush()
        os.fsync(stream.fileno())  # for those who read it on other machines
        lock = Lock(file, stream)
        try:
            yield lock
        finally:
            if lock.is_there():
                file.unlink()


def is_lock(file: Path) -> bool:
    """Whether a regular file is a lock of ours, or was to become one."""
    try:
        said = read_regular(file, MOST).decode(errors="replace")
    except PermissionError:  # another user's
        return True
    except OSError:
        return False
    return said.startswith(SAID) or not said


def is_held(file: Path) -> bool:
    """Whether a living process holds ``file``, another user's too. Raises an OSError where that is not seen."""
    try:
        asked = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        check_regular(os.fstat(asked).st_mode, file)
        fcntl.flock(asked, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(asked)
    return False


def _lock(file: Path) -> IO[str] | None:
    """The locked file, open; None where another process has it."""
    for _ in range(ATTEMPTS):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            stream = open(file, "a", encoding="utf-8", opener=open_own)  # noqa: SIM115 - held beyond
        except FileNotFoundError as error:
            gone = error  # another process removed the folder between our two steps, or there can be none
            continue
        except PermissionError:
            if is_held(file):
                return None
            raise
        try:
            check_regular(os.fstat(stream.fileno()).st_mode, file)
            if not is_lock(file):
                raise OSError(errno.EEXIST, "another file stands in the place of the lock", str(file))
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(stream.fileno()).st_ino == file.stat().st_ino:
                return stream
        except BlockingIOError:
            stream.close()
            return None
        except FileNotFoundError as error:
            gone = error  # its holder let it go, and removed it, between our two steps: lock the next one
        except OSError:
            stream.close()
            raise
        stream.close()
    raise gone
