"""Trials at work: some at a time, wherever an engine runs them, each in a process of its own."""

from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from rich.console import Console

from ablations.console import note, say
from ablations.engines.distributed import Team
from ablations.engines.local import Failure, Job, Lost, Message, TrialProcess, Work, train
from ablations.engines.progress import Bars, Lines, is_log
from ablations.study.checkpoints import epochs_done, find_checkpoint
from ablations.study.folder import StudyFolder
from ablations.study.keeping import Mode
from ablations.study.origin import Origin
from ablations.study.steps import count
from ablations.study.trial import Epoch, Result, Trial
from ablations.training.costs import trial_cost
from ablations.training.status import Wanted, judge
from convnext_path.data.selection import Data

POLL = 0.2  # seconds between looks at trials that another driver holds
ATTEMPTS = 4  # of a trial whose places are lost under it


class Attempt(Protocol):
    """A trial at work. What runs it ends with the ``with`` block."""

    def receive(self) -> Message: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class Engine(Protocol):
    """Where trials run."""

    @property
    def slots(self) -> int:
        """Trials at a time."""

    def start(self, job: Job) -> Attempt: ...
    def wait(self, attempts: Sequence[Any], seconds: float | None) -> Sequence[Any]:
        """The attempts that have something to say, as soon as there are some, or none after so many seconds."""


@dataclass(frozen=True)
class Local:
    """Processes of this machine; where drivers were started as a team, beside those of the others."""

    slots: int = 1
    work: Work = train
    team: Team | None = None

    def start(self, job: Job) -> TrialProcess:
        if self.team is None:
            return TrialProcess(job, self.work)
        return TrialProcess(self.team.gather(job), self.work, self.team.dismiss)

    def wait(self, attempts: Sequence[TrialProcess], seconds: float | None) -> list[TrialProcess]:
        events: dict[Any, TrialProcess] = {event: attempt for attempt in attempts for event in attempt.events}
        return [*dict.fromkeys(events[event] for event in wait(events, seconds))]


@dataclass(frozen=True)
class Terms:
    """How trials run; none of it changes a result."""

    wanted: Wanted  # of a record
    wandb: Mode = "disabled"
    loader_workers: int = 0  # processes that read images, a trial
    engine: Engine = Local()


def default_workers(device: torch.device, cores: int, threads: int) -> int:
    """Trials at a time: as many as the cores hold; one on a GPU, which a trial is taken to fill."""
    return max(cores // threads, 1) if device.type == "cpu" else 1


def default_loader_workers(data: Data, cores: int) -> int:
    """Processes that read a trial's images: none for digits; else one for each core that is left to it, 8 at most."""
    return 0 if data.name == "digits" else min(max(cores, 0), 8)


@dataclass(frozen=True)
class Running:
    """A trial at work. ``held``: its attempt, its claim and what is shown of it, let go of together."""

    trial: Trial
    attempt: Attempt
    held: ExitStack


class Crew:
    """Trains trials, as many at a time as the engine has slots; saves a record or the cause of a failure for each."""

    def __init__(self, study: StudyFolder, trials: Sequence[Trial], console: Console, terms: Terms) -> None:
        self.study, self.terms, self.console = study, terms, console
        self.bars, self.lines = Bars(console, trials), Lines(self.tell, trials, lambda: terms.engine.slots)
        self.numbers = {trial.id: f"{i}/{len(trials)}" for i, trial in enumerate(trials, 1)}
        self.left, self.running = deque(trials), list[Running]()
        self.missing, self.losses, self.waiting = list[tuple[Trial, str]](), Counter[str](), False

    def run(self, wait_for_others: bool) -> None:
        """Work until nothing is left, or nothing but what other drivers hold."""
        if is_log(self.console) and self.left:
            slots = min(self.terms.engine.slots, len(self.left))
            say(f"training {count(len(self.left), 'trial')}, {slots} at a time", self.console, stamped=True)
        try:
            with self.bars.progress:
                self.start_some()
                while self.running or (self.left and wait_for_others):
                    self.listen()
                    self.start_some()
        finally:
            for running in self.running:
                running.held.close()

    def start_some(self) -> None:
        """Start trials while there is room; those that another driver holds go to the end of the line."""
        slots = self.terms.engine.slots
        for _ in range(len(self.left)):
            if len(self.running) < slots:
                self.start(self.left.popleft())

    def start(self, trial: Trial) -> None:
        """Claim a trial and set a process to work, from the last whole checkpoint on."""
        terms = self.terms
        with ExitStack() as held:
            place = held.enter_context(self.study.claim(trial, terms.wanted.origin))
            if place is None:
                self.left.append(trial)
                return
            record = self.study.record(trial)
            if record and judge(self.study, trial, record, terms.wanted).kind == "done":
                self.lines.finish(trial)  # another driver has done so
                return
            checkpoint = self.find_checkpoint(trial, place)
            for shown in (self.bars, self.lines):
                shown.begin(trial, epochs_done(checkpoint) if checkpoint else 0)
                held.callback(shown.end, trial)
            attempt = held.enter_context(terms.engine.start(self.make_job(trial, place, checkpoint)))
            self.running.append(Running(trial, attempt, held.pop_all()))

    def find_checkpoint(self, trial: Trial, place: Path) -> Path | None:
        """The checkpoint to go on from; damaged ones after it are removed."""
        checkpoint, damaged = find_checkpoint(place)
        for file in damaged:
            self.say(trial, f"{file.name} is damaged and was removed")
            file.unlink()
        if checkpoint is not None:
            self.say(trial, f"resumes after epoch {epochs_done(checkpoint)}")
        return checkpoint

    def make_job(self, trial: Trial, place: Path, checkpoint: Path | None) -> Job:
        terms = self.terms
        cost, folder = trial_cost(trial), self.study.folder
        return Job(trial, cost, folder, place, checkpoint, terms.wandb, terms.loader_workers, terms.wanted.keep)

    def listen(self) -> None:
        """Wait until a trial has something to say, or until it is time to look again at what others hold.

        Raises:
            FileNotFoundError: the study was moved or removed.
        """
        engine = self.terms.engine
        room = self.left and len(self.running) < engine.slots
        idle = not self.running
        if idle and not engine.slots and not self.waiting:
            self.waiting = True
            self.say(self.left[0], "no node has room; waiting for one")
        seconds = POLL if room or idle else self.lines.due + POLL
        ready = engine.wait([running.attempt for running in self.running], seconds)
        self.study.check_there()
        for running in [running for running in self.running if running.attempt in ready]:
            self.hear(running, running.attempt.receive())
        self.lines.look()

    def hear(self, running: Running, message: Message) -> None:
        """Show an epoch; save a result or a failure; try again what was lost."""
        if isinstance(message, Epoch):
            for shown in (self.bars, self.lines):
                shown.advance(running.trial, message)
            return
        self.running.remove(running)
        with running.held:
            if not isinstance(message, Lost):
                self.lines.finish(running.trial)
            if isinstance(message, Result) and (others := list_others(message, self.terms.wanted.origin)):
                message = Failure(f"trained under other conditions than asked for: {'; '.join(others)}", "")
            if isinstance(message, Lost):
                self.lose(running, message)
            elif isinstance(message, Failure):
                self.fail(running.trial, message)
            elif isinstance(message, Result):
                self.study.save(message)
                self.say(running.trial, f"top-1 {message.top1:.2f} % in {message.seconds:.1f} s")

    def lose(self, running: Running, message: Lost) -> None:
        """Put a trial back at the head of the line, a few times."""
        trial = running.trial
        self.losses[trial.id] += 1
        if self.losses[trial.id] == ATTEMPTS:
            self.fail(trial, Failure(f"lost {ATTEMPTS} times: {message.why}", ""))
            return
        self.bars.undo(trial)
        self.left.appendleft(trial)
        self.say(trial, f"lost ({message.why}); will be tried again")

    def fail(self, trial: Trial, failure: Failure) -> None:
        self.lines.finish(trial)
        self.say(trial, f"failed: {failure.summary}")
        file = self.study.save_failure(trial, failure.summary, failure.cause)
        self.missing.append((trial, f"{failure.summary}; see {file}"))

    def say(self, trial: Trial, line: str) -> None:
        """Print what happens to a trial, and in a log, which has no bars, when that is and what is left."""
        log = is_log(self.console)
        left = self.lines.describe_left() if log else ""
        say(f"{self.numbers[trial.id]}  {trial.description}: {line}{left}", self.console, stamped=log)
        self.lines.hear()

    def tell(self, trial: Trial, line: str) -> None:
        """Print in a log what bars show elsewhere; the study's own log has it in any case."""
        if is_log(self.console):
            self.say(trial, line)
        else:
            note(f"{self.numbers[trial.id]}  {trial.description}: {line}{self.lines.describe_left()}")


def list_others(result: Result, origin: Origin) -> list[str]:
    """In what a result that has just come is of another origin than was asked for."""
    return [*result.differences(origin), *result.roundings(origin)]


def run_trials(
    study: StudyFolder, trials: Sequence[Trial], console: Console, terms: Terms, wait: bool = True
) -> list[tuple[Trial, str]]:
    """Train each trial and save its record; go on after one that fails. Return those without one, and why.

    A trial that another driver holds is left to it; ``wait`` until it is done, or its driver gone.

    Raises:
        OSError: a record cannot be written.
    """
    crew = Crew(study, trials, console, terms)
    crew.run(wait_for_others=wait)
    return crew.missing + [(trial, "another run trains it") for trial in crew.left]
