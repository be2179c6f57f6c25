"""Processes that the driver starts: forked from a server, heard through a pipe, and none left when the driver lets go.

The server has done the imports, and torch has not started its threads in it. Where it is killed, another is started;
the processes of the old one live on, so that they are ended by us.
"""

import multiprocessing as mp
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any

from ablations.engines.exits import TERMINATED, UNKNOWN

CONTEXT = mp.get_context("forkserver")
PRELOAD = ["ablations.engines.forkserver"]
CONTEXT.set_forkserver_preload(PRELOAD)
STARTS, PAUSE = 20, 0.1  # times that a start is tried whose server is just ending, and seconds between
ORPHAN = 10.0  # seconds that the system is given to end a process that was killed


class Member:
    """A process that calls ``serve(job, send, work)``, and the pipe that it speaks through."""

    def __init__(self, serve: Callable[..., None], job: Any, work: Any) -> None:
        self.receiver, sender = CONTEXT.Pipe(duplex=False)
        self.process = CONTEXT.Process(target=_begin, args=(mp.get_start_method(), sender, serve, job, work))
        start(self.process)
        sender.close()
        self.handle = open_handle(self.process.pid)

    def read(self) -> Any:
        """What it says; None where that is nothing yet, or nothing any more."""
        try:
            return self.receiver.recv() if self.receiver.poll() else None
        except (EOFError, OSError):  # it may have ended in the middle of a word
            return None

    def close(self) -> None:
        """End it, and be sure that it has ended."""
        self.process.kill()
        self.process.join()
        if self.process.exitcode == UNKNOWN:
            self._end_orphan()
        if self.handle is not None:
            os.close(self.handle)
        self.receiver.close()

    def _end_orphan(self) -> None:
        """End a process whose server is gone: nobody else tells when it has ended."""
        if self.handle is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid or 0, signal.SIGKILL)
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        wait([self.handle], ORPHAN)


def open_handle(pid: int | None) -> int | None:
    """What stands for a process whoever has its number later; None where the system has no such thing."""
    if pid is None or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # it has ended already, or may not be asked for
        return None


def start(process: ForkServerProcess) -> None:
    """Start a process, and its server again where that has ended, which may be just now."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="resource_tracker: process died")  # it is started again, too
        for _ in range(STARTS):
            with suppress(EOFError, ConnectionError):
                return process.start()
            time.sleep(PAUSE)
        process.start()


def _begin(method: str, sender: Connection, serve: Callable[..., None], job: Any, work: Any) -> None:
    """What a process does first: see to its end. ``method``: how it starts processes of its own."""
    mp.set_start_method(method, force=True)  # loader workers start as anywhere, not by way of our server
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends us
    signal.signal(signal.SIGTERM, lambda *_: os._exit(TERMINATED))
    # Lightning puts a handler of its own before that, which may wait for other processes; bytes come in any case.
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=partial(signal.set_wakeup_fd, -1))
    threading.Thread(target=_await_end, args=(heard,), daemon=True).start()
    serve(job, sender.send, work)


def _await_end(heard: int) -> None:
    """End this process with the driver, or when SIGTERM asks for it."""
    driver = mp.parent_process()
    assert driver is not None
    while driver.sentinel not in wait([driver.sentinel, heard]):
        if signal.SIGTERM in os.read(heard, 4096):
            os._exit(TERMINATED)
    os._exit(1)
