"""Where trials run: one after the other, each in a process of its own."""

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional as F

from ablations.checkpoint import epochs_done, find_checkpoint
from ablations.process import Failure, Job, Work, run_process, train
from ablations.run import make_trainer, trial_cost
from ablations.study import Epoch, Study, Trial
from ablations.tracking import Mode
from convnext_path import PathModule
from convnext_path.datasets import Data, open_data


@dataclass(frozen=True)
class Terms:
    """How trials run; none of it changes a result."""

    origin: Mapping[str, object]
    wandb: Mode = "disabled"
    loader_workers: int = 0
    work: Work = train


class Bars:
    """A bar for the ladder and one for the trial, both counting epochs; nothing where there is no terminal."""

    def __init__(self, console: Console, trials: Sequence[Trial]) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self.ladder = self.progress.add_task("ladder, epochs", total=sum(t.recipe.epochs for t in trials))
        self.trial = self.progress.add_task("")
        self.name = ""

    def begin(self, trial: Trial) -> None:
        self.name = describe(trial)
        self.progress.reset(self.trial, total=trial.recipe.epochs, description=self.name)

    def skip(self, epochs: int) -> None:
        """Count epochs that a checkpoint holds."""
        self.progress.advance(self.ladder, epochs)
        self.progress.advance(self.trial, epochs)

    def advance(self, epoch: Epoch) -> None:
        accuracy = "" if epoch.top1 is None else f", top-1 {epoch.top1:.1f} %"
        self.progress.advance(self.ladder)
        self.progress.advance(self.trial)
        self.progress.update(self.trial, description=f"{self.name} (loss {epoch.train_loss:.2f}{accuracy})")


def default_workers(data: Data) -> int:
    """Processes that read images: none for digits, which are quick to read; else a core each but one, 8 at most."""
    return 0 if data.name == "digits" else min(max((os.cpu_count() or 1) - 1, 1), 8)


def describe(trial: Trial) -> str:
    return f"{trial.rung}, seed {trial.seed}"


def run_trials(
    study: Study, trials: Sequence[Trial], console: Console, terms: Terms, wait: bool = True
) -> list[tuple[Trial, str]]:
    """Train each trial and save its record; go on after one that fails. Return those without one, and why.

    A trial that another driver holds is left to it; ``wait`` until it is done, or its driver gone.

    Raises:
        OSError: a record cannot be written.
    """
    missing: list[tuple[Trial, str]] = []
    bars, left, elsewhere = Bars(console, trials), deque(trials), 0
    with bars.progress:
        while left and (wait or elsewhere < len(left)):
            if elsewhere == len(left):
                time.sleep(0.2)
                elsewhere = 0
            trial = left.popleft()
            with study.claim(trial, terms.origin) as place:
                if place is None:
                    left.append(trial)
                    elsewhere += 1
                    continue
                elsewhere = 0
                if (record := study.record(trial)) and not record.differences(terms.origin):
                    continue  # another driver has just finished it
                bars.begin(trial)
                number = f"{trials.index(trial) + 1}/{len(trials)}"
                if why := run_one(study, trial, place, terms, bars, number):
                    missing.append((trial, why))
    return missing + [(trial, "another driver trains it") for trial in left]


def run_one(study: Study, trial: Trial, place: Path, terms: Terms, bars: Bars, number: str) -> str:
    """Train one trial from its last whole checkpoint on; save the record, or why there is none, and return that."""

    def say(line: str) -> None:
        line = f"{number}  {describe(trial)}: {line}"
        bars.progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    checkpoint, damaged = find_checkpoint(place)
    for file in damaged:
        say(f"{file.name} is damaged, and removed")
        file.unlink()
    if checkpoint is not None:
        say(f"goes on after epoch {epochs_done(checkpoint)}")
        bars.skip(epochs_done(checkpoint))
    job = Job(trial, study.folder, place, checkpoint, terms.wandb, terms.loader_workers)
    outcome = run_process(job, bars.advance, terms.work)
    if isinstance(outcome, Failure):
        say(f"failed: {outcome.summary}")
        return f"{outcome.summary}; see {study.save_failure(trial, outcome.summary, outcome.cause)}"
    study.save(outcome)
    say(f"top-1 {outcome.top1:.2f} % in {outcome.seconds:.1f} s")
    return ""


def estimate_seconds(trials: Sequence[Trial]) -> float:
    """How long the trials will take, from a training step of the first, the middle and the last of them.

    A rough figure: time is taken to go with multiply-accumulates, and validation to cost a third of training.
    """
    probes = {trial.rung: trial for trial in (trials[0], trials[len(trials) // 2], trials[-1])}
    rates = [time_step(trial) / trial_cost(trial).all_macs for trial in probes.values()]
    rate = sum(rates) / len(rates)  # seconds a multiply-accumulate of the forward pass
    return sum(rate * trial_cost(trial).all_macs * count_images(trial) for trial in trials)


def count_images(trial: Trial) -> float:
    """Images that a trial trains on, and a third of those that it validates on."""
    splits = open_data(trial.data)
    return trial.recipe.epochs * (len(splits.train_indices) + len(splits.val_indices) / 3)


def time_step(trial: Trial) -> float:
    """Seconds an image of one training step, after a step to warm up, on as few images as tell."""
    splits = open_data(trial.data)
    device = make_trainer(trial).strategy.root_device
    batch = int(max(2, min(trial.recipe.batch_size, 2e10 / trial_cost(trial).all_macs)))
    module = PathModule(trial.flags, trial.scale, trial.recipe, splits.num_classes, splits.in_channels).to(device)
    images = torch.zeros(batch, splits.in_channels, splits.image_size, splits.image_size, device=device)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        torch.autograd.backward(F.cross_entropy(module(images), labels))
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        seconds = time.perf_counter() - start
    return seconds / batch
