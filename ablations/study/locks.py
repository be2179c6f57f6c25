"""Files that one process holds at a time."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

#: What a study's driver holds, in the study's folder.
DRIVER = Path("running", "driver")


def describe_driver(study: Path) -> str:
    """Who trains a study, as the one who comes second is told."""
    return f"{study} is being trained by {(study / DRIVER).read_text(encoding='utf-8')}; wait, or --join in"


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
        os.fsync(stream.fileno())  # for those who read it on other machines
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
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            stream = file.open("a", encoding="utf-8")
        except FileNotFoundError:
            continue  # another process removed the folder between our two steps
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
