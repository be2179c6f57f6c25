"""What a log reads of a run while it goes on."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ablations.console import open_log
from ablations.engines import scheduler
from ablations.engines.local import Failure, Job, Lost, Message
from ablations.engines.progress import OFTEN, SILENT, Lines, is_log
from ablations.engines.scheduler import Terms, run_trials
from ablations.study.folder import StudyFolder
from ablations.study.trial import Epoch, Plan, Trial
from ablations.training.status import Wanted
from tests.conftest import ORIGIN, fake_result


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Pretend:
    """A trial at work that takes ``seconds`` an epoch of 600 images, and then says its last word."""

    trial: Trial
    clock: Clock
    seconds: float
    last: Message
    done: int = 0
    next: float = field(init=False)

    def __post_init__(self) -> None:
        self.next = self.clock.now + self.seconds

    def receive(self) -> Message:
        if self.done == self.trial.recipe.epochs:
            return self.last
        self.done, self.next = self.done + 1, self.next + self.seconds
        if self.done == self.trial.recipe.epochs:
            self.next = self.clock.now
        return Epoch(self.done, 0.1, 2.0 / self.done, 1.0, 50.0 + self.done, 90.0, 600 * self.done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


@dataclass
class Stage:
    """An engine on which time passes as it is told."""

    seconds: Sequence[float]  # of an epoch of each trial, as they begin
    slots: int = 2
    lasts: Sequence[Message | None] = ()  # last words that are no results
    clock: Clock = field(default_factory=Clock)
    started: int = 0

    def start(self, job: Job) -> Pretend:
        last = self.lasts[self.started] if self.started < len(self.lasts) else None
        self.started += 1
        seconds = self.seconds[(self.started - 1) % len(self.seconds)]
        return Pretend(job.trial, self.clock, seconds, last or fake_result(job.trial))

    def wait(self, attempts: Sequence[Pretend], seconds: float | None) -> list[Pretend]:
        assert seconds is not None
        self.clock.now = max(min([self.clock.now + seconds, *(a.next for a in attempts)]), self.clock.now)
        return [attempt for attempt in attempts if attempt.next <= self.clock.now]


def perform(
    folder: Path, plan: Plan, epochs: int, stage: Stage, monkeypatch: pytest.MonkeyPatch, console: Console | None = None
) -> str:
    """All that is printed, the time of day left out."""
    recipes = tuple((name, recipe.with_epochs(epochs)) for name, recipe in plan.recipes)
    plan, study = replace(plan, recipes=recipes), StudyFolder(folder)
    study.begin(plan)
    monkeypatch.setattr(scheduler, "Lines", partial(Lines, clock=stage.clock))
    console = console or Console(file=io.StringIO(), width=200)
    run_trials(study, plan.trials(), console, Terms(Wanted(ORIGIN), engine=stage))
    said: str = console.file.getvalue()  # type: ignore[attr-defined]
    return re.sub(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", "", said)


SHORT = """\
training 4 trials, 2 at a time
1/4  recipe, seed 0: top-1 90.00 % in 1.5 s; left: 3 of 4 trials, about 0:00:10
2/4  layer_norm, seed 0: top-1 90.00 % in 1.5 s; left: 2 of 4 trials, about 0:00:10
3/4  recipe, seed 1: top-1 90.00 % in 1.5 s; left: 1 of 4 trials, about 0:00:00
4/4  layer_norm, seed 1: top-1 90.00 % in 1.5 s
"""
LONG = """\
training 4 trials, 2 at a time
1/4  recipe, seed 0: working on epoch 1 of 3 for 0:01:00; left: 4 of 4 trials
2/4  layer_norm, seed 0: epoch 1 of 3, loss 2.00, top-1 51.0 %, 2.5 images/s; left: 4 of 4 trials, about 0:20:00
1/4  recipe, seed 0: epoch 1 of 3, loss 2.00, top-1 51.0 %, 2.5 images/s; left: 4 of 4 trials, about 0:19:00
2/4  layer_norm, seed 0: epoch 2 of 3, loss 1.00, top-1 52.0 %, 2.5 images/s; left: 4 of 4 trials, about 0:16:00
1/4  recipe, seed 0: epoch 2 of 3, loss 1.00, top-1 52.0 %, 2.5 images/s; left: 4 of 4 trials, about 0:15:00
1/4  recipe, seed 0: top-1 90.00 % in 1.5 s; left: 3 of 4 trials, about 0:12:00
2/4  layer_norm, seed 0: top-1 90.00 % in 1.5 s; left: 2 of 4 trials, about 0:12:00
"""


def test_a_short_run_says_how_each_trial_ended(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert perform(tmp_path, plan, 5, Stage([2.0]), monkeypatch) == SHORT


def test_a_long_run_says_how_far_it_is(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert perform(tmp_path, plan, 3, Stage([240.0]), monkeypatch).startswith(LONG)


def test_what_is_lost_or_fails_is_said_with_what_is_left(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage([1.0], slots=1, lasts=[Lost("it was ended"), None, Failure("out of luck", "")])
    said = perform(tmp_path, plan, 2, stage, monkeypatch).splitlines()
    assert (
        said[1] == "1/4  recipe, seed 0: lost (it was ended); will be tried again; left: 4 of 4 trials, about 0:00:06"
    )
    assert said[2] == "1/4  recipe, seed 0: top-1 90.00 % in 1.5 s; left: 3 of 4 trials, about 0:00:06"
    assert said[3] == "2/4  layer_norm, seed 0: failed: out of luck; left: 2 of 4 trials, about 0:00:04"


@pytest.mark.parametrize("kind", ["terminal", "notebook"])
def test_bars_have_no_lines_beside_them_but_the_log_has(
    kind: str, tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=kind == "terminal")
    console.is_jupyter = kind == "notebook"
    monkeypatch.setattr("ablations.engines.progress.find_spec", lambda name: None)
    with open_log() as log:
        said = perform(tmp_path, plan, 3, Stage([240.0]), monkeypatch, console)
    assert "loss 1.00, top-1 52.0 %, 2.5 images/s; left: " not in said
    assert kind == "notebook" or "1/4  recipe, seed 0: top-1 90.00 % in 1.5 s\n" in said
    assert sum("images/s; left: " in line for line in log.lines) >= 8


def test_a_terminal_that_cannot_move_is_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_log(Console(file=io.StringIO()))
    assert not is_log(Console(force_terminal=True))
    monkeypatch.setenv("TERM", "dumb")
    assert is_log(Console(force_terminal=True))


PACES = st.lists(st.sampled_from([0.2, 7.0, 45.0, 61.0, 300.0, 4000.0, 30_000.0]), min_size=1, max_size=6)


@given(seconds=PACES, epochs=st.integers(1, 40), step=st.floats(0.05, 3))
def test_no_more_than_a_line_a_minute_and_never_long_silent(
    plan: Plan, seconds: list[float], epochs: int, step: float
) -> None:
    """``step``: how late the driver looks."""
    clock, told, trials = Clock(), [(1000.0, "")], []
    for seed in range(len(seconds)):
        trial = plan.trials()[0]
        trials.append(replace(trial, seed=seed, recipe=trial.recipe.with_epochs(epochs)))
    lines = Lines(lambda trial, line: told.append((clock.now, trial.id)), trials, lambda: len(trials), clock)
    work = [Pretend(t, clock, s, fake_result(t)) for t, s in zip(trials, seconds, strict=True)]
    for trial in trials:
        lines.begin(trial, 0)
    while work and clock.now < 20_000:
        clock.now = min(clock.now + lines.due + step, *(one.next for one in work), clock.now + 1e9)
        for one in [one for one in work if one.next <= clock.now]:
            message = one.receive()
            if isinstance(message, Epoch):
                lines.advance(one.trial, message)
            else:
                work.remove(one)
                lines.finish(one.trial)
                lines.end(one.trial)
        lines.look()
        assert clock.now - told[-1][0] <= SILENT + step + 1e-6 or not work
    gaps = [after - before for (before, _), (after, _) in pairwise(told)]
    assert all(gap >= OFTEN - 1e-6 for gap in gaps)


def test_each_of_many_is_told_of_in_turn(plan: Plan) -> None:
    trial, clock, told = plan.trials()[0], Clock(), list[int]()
    trial = replace(trial, recipe=trial.recipe.with_epochs(40))
    trials = [replace(trial, seed=seed) for seed in range(10)]
    lines = Lines(lambda trial, line: told.append(trial.seed), trials, lambda: 10, clock)
    for one in trials:
        lines.begin(one, 0)
    for epoch in range(1, 31):  # all come together, once a minute
        clock.now += 60
        for one in trials:
            lines.advance(one, Epoch(epoch, 0.1, 1.0, images=epoch))
        lines.look()
    assert told == [*range(10)] * 3


def test_images_a_second_after_a_break_are_those_since(plan: Plan) -> None:
    trial, clock, told = plan.trials()[0], Clock(), list[str]()
    trial = replace(trial, recipe=trial.recipe.with_epochs(10))
    lines = Lines(lambda trial, line: told.append(line), [trial], lambda: 1, clock)
    lines.begin(trial, 7)
    clock.now += 100
    lines.advance(trial, Epoch(8, 0.1, 1.5, images=8 * 5000))
    lines.look()
    assert told == ["epoch 8 of 10, loss 1.50, 50 images/s"]
    assert lines.describe_left() == "; left: 1 of 1 trials, about 0:03:20"
