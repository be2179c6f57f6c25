"""What people read while something runs: one console, and lines as they are."""

from rich.console import Console

console = Console()


def say(line: str) -> None:
    """Print a line as it is, however long."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)
