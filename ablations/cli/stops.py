"""Signals that ask a command to stop: it ends in order, says how to go on, and gives the exit code that shells know."""

import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from ablations.engines.exits import name_signal

#: Ctrl-C; what is sent where a terminal is closed; what batch systems send, some of it a while before the time is over.
STOPS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
#: Seconds after a first signal in which others are taken for the same: a shell, torchrun and SLURM may each send one.
#: A later one ends the process at once, in case that what is to be put in order does not end.
PATIENCE = 2.0


class Stops:
    """Raises a KeyboardInterrupt at the first signal. One that is ignored already, as under nohup, stays so.

    Args:
        advice: what is said to whoever stops a command, beside that it has stopped.
    """

    def __init__(self, advice: str = "") -> None:
        self.advice = advice
        self.number, self.since, self.told = 0, 0.0, False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        heard = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
        self.before = {number: signal.signal(number, self._stop) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the signals; not where one has come, as others may until the process has ended."""
        if not self.number:
            for number, handler in self.before.items():
                signal.signal(number, handler)

    @property
    def code(self) -> int:
        """The exit code; 0 where nothing has come."""
        return 128 + self.number if self.number else 0

    def tell(self) -> None:
        """Say so, once, in a line; of processes that torchrun or srun started, the first one says it."""
        name = f" by {name_signal(self.number)}" if self.number not in (0, signal.SIGINT) else ""
        follows = any(os.environ.get(rank, "0") != "0" for rank in ("RANK", "SLURM_PROCID"))
        if not (self.told or follows):
            self.told = True
            with suppress(OSError, RuntimeError):  # the terminal is gone, or a line is just being written
                print(f"stopped{name}{self.advice}", file=sys.stderr)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            self.number, self.since = number, time.monotonic()
            raise KeyboardInterrupt("Ctrl-C" if number == signal.SIGINT else name_signal(number))
        if time.monotonic() - self.since > PATIENCE:
            self.tell()
            os._exit(self.code)
