"""Where trials run: one after the other, in this process."""

import os
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional as F

from ablations.run import make_trainer, run_trial, trial_cost
from ablations.study import Epoch, Result, Study, Trial
from ablations.tracking import Mode, finish_run, make_logger
from convnext_path import PathModule
from convnext_path.datasets import Data, open_data

Failure = tuple[Trial, Path]


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
    study: Study, trials: Sequence[Trial], console: Console, wandb: Mode, loader_workers: int
) -> list[Failure]:
    """Train each trial and save its record; go on after one that fails. Return those that failed, and why."""
    failures: list[Failure] = []
    bars = Bars(console, trials)
    with bars.progress:
        for number, trial in enumerate(trials, 1):
            bars.begin(trial)
            try:
                result = run_and_save(study, trial, wandb, loader_workers, bars)
                outcome = f"top-1 {result.top1:.2f} % in {result.seconds:.1f} s"
            except Exception as error:  # noqa: BLE001 - whatever a trial dies of, its siblings go on
                failures.append((trial, study.save_failure(trial, traceback.format_exc())))
                outcome = f"failed: {type(error).__name__}: {error}"
            line = f"{number}/{len(trials)}  {describe(trial)}: {outcome}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    return failures


def run_and_save(study: Study, trial: Trial, wandb: Mode, loader_workers: int, bars: Bars) -> Result:
    """Train one trial, logged to W&B if asked for; its record is written before anything else."""
    logger, result = make_logger(study, trial, wandb), None
    try:
        result = run_trial(trial, loader_workers, logger, bars.advance)
        study.save(result)
        return result
    finally:
        if logger is not None:
            finish_run(logger, result)


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
