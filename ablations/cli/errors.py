"""Bad input, as whoever typed it is told: one line, and exit code 2."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from convnext_path.words import mask


def fail(message: object) -> NoReturn:
    """End with one line and exit code 2."""
    print(f"error: {mask(' '.join(str(message).split()))}", file=sys.stderr)
    sys.exit(2)


@contextmanager
def told() -> Iterator[None]:
    """End with a line where what is asked for cannot be had."""
    try:
        yield
    except (ValueError, OSError) as error:
        fail(error)
