"""Bad input, as whoever typed it is told: one line, and exit code 2."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from convnext_path.words import mask, show_name


def fail(message: object) -> NoReturn:
    """End with one line and exit code 2."""
    print_error(message)
    sys.exit(2)


def print_error(message: object) -> None:
    """Print an error as one line of text, without the secrets of addresses."""
    print(f"error: {show_name(mask(' '.join(describe(message).split())))}", file=sys.stderr)


def describe(message: object) -> str:
    """An error in words: of the operating system's the place and the reason, without its number."""
    if not isinstance(message, OSError) or not message.strerror:
        return str(message)
    return f"{os.fsdecode(message.filename)}: {message.strerror}" if message.filename else message.strerror


@contextmanager
def told() -> Iterator[None]:
    """End with a line where what is asked for cannot be had."""
    try:
        yield
    except (ValueError, OSError) as error:
        fail(error)
