"""Other programs, within limits of time and output; nothing that they started goes on after them."""

import multiprocessing
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import connection
from typing import BinaryIO

MOST = 2**24  # bytes that a program may print
PAUSE = 0.05  # seconds between two looks at what it printed
GRACE = 1.0  # seconds for what was killed to be gone: a process that waits for a dead disk never is


class HangError(RuntimeError):
    """A program did not end in its time."""


def run_program(command: Sequence[str], seconds: float) -> bytes:
    """What a program prints, which reads nothing.

    Its output goes to files: a pipe would stay open as long as anything that the program left behind.

    Raises:
        HangError: it has not ended after so many seconds.
        RuntimeError: it cannot be started, fails, or prints without end; the message is one line.
        OSError: there is no place for what it prints.
    """
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as complaints:
        process = start(command, printed, complaints)
        try:
            watch(process, (printed, complaints), command[0], seconds)
        finally:
            end(process)
        if process.returncode:
            complaint = read(complaints).decode(errors="replace").strip().partition("\n")[0]
            raise RuntimeError(f"{command[0]} fails: {complaint[:200] or process.returncode}")
        return read(printed)


def start(command: Sequence[str], printed: BinaryIO, complaints: BinaryIO) -> "subprocess.Popen[bytes]":
    """Start a program, in a process group of its own."""
    nothing = subprocess.DEVNULL
    try:
        return subprocess.Popen(command, stdin=nothing, stdout=printed, stderr=complaints, start_new_session=True)
    except OSError as error:
        raise RuntimeError(f"{command[0]} cannot be started: {error.strerror}") from None


def watch(process: "subprocess.Popen[bytes]", files: Sequence[BinaryIO], name: str, seconds: float) -> None:
    """Wait until a program ends. Raises a RuntimeError where it takes too long or prints too much."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PAUSE)
            return
        if time.monotonic() > deadline:
            raise HangError(f"{name} does not end within {seconds:g} s")
        if any(os.fstat(file.fileno()).st_size > MOST for file in files):
            raise RuntimeError(f"{name} prints without end")


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program, if it has not ended, and all that it started in its group."""
    with suppress(ProcessLookupError, PermissionError):  # there is none; none but the dead, as macOS has it
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)


def end_with_parent(end: Callable[[], object] = lambda: os._exit(1)) -> None:
    """Let this process, a worker of a pool, end with its parent: it would wait for ever for one that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        end()

    threading.Thread(target=follow, daemon=True).start()


def read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(MOST)
