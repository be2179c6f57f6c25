"""How far a look at many images is, while it lasts."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from time import monotonic

from rich.progress import MofNCompleteColumn, Progress

from ablations.console import console, say
from convnext_path.data.scanning import Report, reported

PAUSE = 60  # seconds between two lines where there is no terminal


@contextmanager
def watched() -> Iterator[None]:
    """Show meanwhile how many images are checked: a bar on a terminal that goes when all are, else a line a minute."""
    with ExitStack() as shown, reported(show_bar(shown) if console.is_terminal else tell_now_and_then()):
        yield


def show_bar(shown: ExitStack) -> Report:
    """A bar from the first image on, until ``shown`` ends."""

    @cache
    def start() -> Progress:
        columns = *Progress.get_default_columns(), MofNCompleteColumn()
        progress = shown.enter_context(Progress(*columns, console=console, transient=True))
        progress.add_task("checking images")
        return progress

    def show(done: int, total: int) -> None:
        start().update(start().task_ids[0], completed=done, total=total)

    return show


def tell_now_and_then() -> Report:
    """A line each :data:`PAUSE` seconds."""
    last = monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if monotonic() - last >= PAUSE:
            last = monotonic()
            say(f"checking images: {done} of {total}", to=console)

    return tell
