"""What people read while something runs: one console, lines as they are, and the log that keeps them."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from convnext_path.files import check_regular, open_own, open_regular, write_whole
from convnext_path.words import mask

console = Console()

BOUND = 4 * 2**20  # bytes of a log; of a longer one the last half is kept


class Log:
    """What is said while a run goes on, a line each with its time: in memory until it has a file, in that from then on.

    What cannot be written is left out: a log fails no run.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.file: Path | None = None

    def keep(self, file: Path, title: str) -> None:
        """Write to the end of ``file`` from now on, which other runs may do beside us: a title, then what was said."""
        with suppress(OSError):
            shorten(file)
            append(file, [*([""] if file.stat().st_size else []), stamp(title), *self.lines])
            self.file = file

    def add(self, line: str) -> None:
        if self.file is None:
            self.lines.append(stamp(line))
            return
        with suppress(OSError):
            append(self.file, [stamp(line)])


LOGS: list[Log] = []  # those that are open


@contextmanager
def open_log() -> Iterator[Log]:
    """A log of what is said meanwhile, and of how that ends where it ends early."""
    log = Log()
    LOGS.append(log)
    try:
        yield log
    except BaseException as error:
        log.add(f"ended early: {str(error) or type(error).__name__}")
        raise
    finally:
        LOGS.remove(log)


def say(line: str, to: Console = console, stamped: bool = False) -> None:
    """Print a line as it is, however long, with the time where ``stamped``, without secrets; open logs keep it."""
    line = mask(line)
    note(line)
    to.print(stamp(line) if stamped else line, highlight=False, markup=False, soft_wrap=True)


def note(line: str) -> None:
    """Put a line into the logs that are open, and nowhere else."""
    for log in LOGS:
        log.add(mask(line))


def stamp(line: str) -> str:
    """A line behind the date and the time of day."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}"


def append(file: Path, lines: list[str]) -> None:
    """Write lines to the end of a file. Raises an OSError, also where the name is that of anything else."""
    text = "".join(f"{make_printable(line)}\n" for line in lines)
    handle = open_plain(file)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def open_plain(file: Path) -> int:
    """Open a file to write to its end; a pipe that nobody reads, or a link, would lead elsewhere. Raises an OSError."""
    handle = open_own(str(file), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        check_regular(os.fstat(handle).st_mode, file)
    except OSError:
        os.close(handle)
        raise
    return handle


def shorten(file: Path) -> None:
    """Make sure of a plain file that is no other study's too, with the last lines of a long one. Raises an OSError."""
    os.close(open_plain(file))
    found = file.stat()
    if found.st_size <= BOUND and found.st_nlink == 1:
        return
    with open_regular(file) as stream:
        if found.st_size > BOUND:
            stream.seek(found.st_size - BOUND // 2)
            stream.readline()
        write_whole(file, stream.read(BOUND))


def make_printable(line: str) -> str:
    """A line of plain text: what is no character to print, an end of line too, as Python writes it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
