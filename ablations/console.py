"""What people read while a command runs: one console, lines as they are, and errors."""

import sys
from typing import NoReturn

from rich.console import Console

console = Console()


def say(line: str) -> None:
    """Print a line as it is, however long."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def fail(message: object) -> NoReturn:
    """End with one line and exit code 2."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(2)
