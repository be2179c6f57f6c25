"""How a process ended, from its exit code: in words, and whether it was ended from outside."""

import signal

TERMINATED = 128 + signal.SIGTERM  # of a trial's process that was sent SIGTERM, as shells count
UNKNOWN = 255  # multiprocessing's word for a process whose server has ended before it

#: Signals that a process brings on itself, and would again; all others come from outside.
FAULTS = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGXFSZ,
    }
)


def find_signal(code: int) -> int | None:
    """The number of the signal that ended a process; None where none did."""
    if code == TERMINATED:
        return signal.SIGTERM
    return -code if code < 0 else None


def is_from_outside(code: int) -> bool:
    """Whether a process did not end by its own doing: what it did may go well another time."""
    number = find_signal(code)
    return code == UNKNOWN or (number is not None and number not in FAULTS)


def describe_exit(code: int) -> str:
    """An exit code in words."""
    number = find_signal(code)
    if code == UNKNOWN:
        return "its process ended without an exit code: the server that started it may have been killed"
    if number is None:
        return f"its process ended with exit code {code}"
    hint = " (out of memory?)" if number == signal.SIGKILL else ""
    return f"its process was ended by {name_signal(number)}{hint}"


def name_signal(number: int) -> str:
    """Its name; a number where it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        first, last = int(signal.SIGRTMIN), int(signal.SIGRTMAX)
        return f"SIGRTMIN+{number - first}" if first < number < last else f"signal {number}"
