"""How far a run is: bars where a terminal or a notebook shows them, and lines for a batch system's log."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ablations.study.trial import Epoch, Trial

OFTEN = 60.0  # seconds from a line to the next one that tells of an epoch, whichever trial's
SILENT = 600.0  # seconds without a line after which one tells of the epochs that are at work


def is_live(console: Console) -> bool:
    """Whether it can change what it has shown."""
    terminal = console.is_terminal and not console.is_dumb_terminal
    return terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def round_time(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))


def is_log(console: Console) -> bool:
    """Whether what is printed stays as it is, in a file or a pipe, read later or from afar."""
    return not is_live(console) and not console.is_jupyter


class Bars:
    """A bar for the ladder and one for each trial at work, all counting epochs; none where nothing could show them."""

    def __init__(self, console: Console, trials: Sequence[Trial]) -> None:
        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        )  # fmt: skip
        self.progress = Progress(*columns, console=console, disable=not is_live(console), transient=True)
        self.ladder = self.progress.add_task("all trials, in epochs", total=sum(t.recipe.epochs for t in trials))
        self.bars = dict[str, TaskID]()

    def begin(self, trial: Trial, done: int) -> None:
        """A bar for a trial, some of whose epochs a checkpoint holds."""
        self.progress.advance(self.ladder, done)
        self.bars[trial.id] = self.progress.add_task(trial.description, total=trial.recipe.epochs, completed=done)

    def advance(self, trial: Trial, epoch: Epoch) -> None:
        accuracy = "" if epoch.top1 is None else f", top-1 {epoch.top1:.1f} %"
        self.progress.advance(self.ladder)
        self.progress.advance(self.bars[trial.id])
        description = f"{trial.description} (loss {epoch.train_loss:.2f}{accuracy})"
        self.progress.update(self.bars[trial.id], description=description)

    def end(self, trial: Trial) -> None:
        self.progress.remove_task(self.bars.pop(trial.id))

    def undo(self, trial: Trial) -> None:
        """Take a trial's epochs back, which it begins with when it is tried again."""
        bar = self.progress.task_ids.index(self.bars[trial.id])
        self.progress.advance(self.ladder, -self.progress.tasks[bar].completed)


@dataclass
class Course:
    """A trial at work: its epochs that are done, and when the last of them came; its newest point, if not yet told."""

    trial: Trial
    done: int
    since: float
    images: int = 0  # seen when that epoch came
    rate: float = 0.0  # images a second, with validation and all else
    news: Epoch | None = None

    def advance(self, epoch: Epoch, now: float) -> float:
        """Take note of an epoch; the seconds that it took."""
        seconds, before = now - self.since, self.images or epoch.images * self.done // epoch.epoch
        self.rate = (epoch.images - before) / max(seconds, 1e-9)
        self.done, self.since, self.images = epoch.epoch, now, epoch.images
        self.news = epoch if epoch.epoch < self.trial.recipe.epochs else None  # the result follows the last
        return seconds

    def describe_news(self) -> str:
        """The newest point, in words."""
        epoch, self.news = self.news, None
        assert epoch is not None
        accuracy = "" if epoch.top1 is None else f", top-1 {epoch.top1:.1f} %"
        rate = f"{self.rate:,.0f}" if self.rate >= 10 else f"{self.rate:.2g}"
        how = f"loss {epoch.train_loss:.2f}{accuracy}, {rate} images/s"
        return f"epoch {epoch.epoch} of {self.trial.recipe.epochs}, {how}"

    def describe_work(self, now: float) -> str:
        """Which epoch goes on, and since when."""
        epochs = self.trial.recipe.epochs
        return f"working on epoch {min(self.done + 1, epochs)} of {epochs} for {round_time(now - self.since)}"


class Lines:
    """A line for an epoch, but one a minute for all trials together; where none comes for long, one that they run.

    Of several trials with something new, that one is told of which has waited longest. What is left is reckoned from
    the seconds that this run's epochs take, rung by rung.
    """

    def __init__(
        self,
        tell: Callable[[Trial, str], None],
        trials: Sequence[Trial],
        slots: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tell, self.slots, self.clock, self.count = tell, slots, clock, len(trials)
        self.open = {trial.id: (trial.rung, trial.recipe.epochs) for trial in trials}  # rungs, and epochs to go
        self.courses = dict[str, Course]()  # of those at work; who was told of last stands last
        self.seconds = defaultdict[str, list[float]](list)  # of each rung's epochs
        self.told, self.patience = clock(), OFTEN

    def begin(self, trial: Trial, done: int) -> None:
        """A trial is at work, some of whose epochs a checkpoint holds."""
        self.open[trial.id] = trial.rung, trial.recipe.epochs - done
        self.courses[trial.id] = Course(trial, done, self.clock())

    def advance(self, trial: Trial, epoch: Epoch) -> None:
        """An epoch has come."""
        seconds = self.courses[trial.id].advance(epoch, self.clock())
        self.seconds[trial.rung].append(seconds)
        self.open[trial.id] = trial.rung, trial.recipe.epochs - epoch.epoch

    def end(self, trial: Trial) -> None:
        """A trial is not at work any more."""
        del self.courses[trial.id]

    def finish(self, trial: Trial) -> None:
        """A trial has a result, or will have none."""
        self.open.pop(trial.id, None)

    def hear(self) -> None:
        """Something else was said: the log is not silent."""
        self.told, self.patience = self.clock(), SILENT

    @property
    def due(self) -> float:
        """Seconds until the next line."""
        wait = OFTEN if any(course.news for course in self.courses.values()) else self.patience
        return max(self.told + wait - self.clock(), 0.0)

    def look(self) -> None:
        """Tell of an epoch, or of what goes on without one, when it is time."""
        if not self.courses or self.due > 0:
            return
        new = [course for course in self.courses.values() if course.news]
        course = (new or list(self.courses.values()))[0]
        self.courses[course.trial.id] = self.courses.pop(course.trial.id)
        self.tell(course.trial, course.describe_news() if new else course.describe_work(self.clock()))
        self.hear()

    def describe_left(self) -> str:
        """What is left of the run, in words; nothing where nothing is."""
        if not self.open:
            return ""
        left = self.estimate()
        about = "" if left is None else f", about {round_time(left)}"
        return f"; left: {len(self.open)} of {self.count} trials{about}"

    def estimate(self) -> float | None:
        """Seconds until all is done; None before any epoch is."""
        if not self.seconds:
            return None
        mean = {rung: sum(each) / len(each) for rung, each in self.seconds.items()}
        usual = sum(mean.values()) / len(mean)
        needs = {trial: epochs * mean.get(rung, usual) for trial, (rung, epochs) in self.open.items()}
        for trial in needs.keys() & self.courses.keys():
            under_way = min(self.clock() - self.courses[trial].since, mean.get(self.open[trial][0], usual))
            needs[trial] = max(needs[trial] - under_way, 0.0)
        return max(*needs.values(), sum(needs.values()) / max(min(self.slots(), len(needs)), 1))
