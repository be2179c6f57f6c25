"""How far a look at many images is, while it lasts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import MofNCompleteColumn, Progress

from ablations.console import console, say
from convnext_path.data.scanning import Report, reported

PAUSE = 60  # seconds between two lines where there is no terminal


@contextmanager
def watched() -> Iterator[None]:
    """Show meanwhile how many images are checked: a bar on a terminal that goes when all are, else a line a minute."""
    if not console.is_terminal:
        with reported(tell_now_and_then()):
            yield
        return
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True) as progress:
        task = progress.add_task("checking images", visible=False)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        with reported(show):
            yield


def tell_now_and_then() -> Report:
    """A line each :data:`PAUSE` seconds."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PAUSE:
            last = time.monotonic()
            say(f"checking images: {done} of {total}")

    return tell
