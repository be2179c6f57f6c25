"""How fast a trial trains here: a few of its steps, in a process of its own, beside as many others as in a study."""

import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch

from ablations.bench.bare import BareTraining
from ablations.engines.local import Failure, Job, run_process
from ablations.engines.processes import CONTEXT
from ablations.planning.throughput import START, Pace
from ablations.study.trial import Trial
from ablations.training.costs import trial_cost
from ablations.training.memory import peak_memory, reset_peak_memory
from ablations.training.trainer import torch_threads
from convnext_path.programs import end_with_parent

WARM, TIMED = 2, 6  # training steps: the first ones take longer


def measure_paces(
    trials: Sequence[Trial], workers: int, loader_workers: int = 0, patience: float = math.inf
) -> dict[str, Pace]:
    """The pace of each trial's rung here, ``workers`` at a time as in a study: they share caches and memory.

    ``patience``: seconds after which no further batch is begun, of training or of validation.

    Raises:
        RuntimeError, MemoryError: a process ends without one.
    """
    with ProcessPoolExecutor(workers, CONTEXT, end_with_parent, max_tasks_per_child=1) as pool:
        paces = [*pool.map(partial(measure_pace, loader_workers=loader_workers, patience=patience), trials)]
    return {trial.rung: pace for trial, pace in zip(trials, paces, strict=True)}


def measure_start(trial: Trial, pace: Pace) -> float:
    """Seconds that a trial takes beside its steps: process, Lightning, checkpoints, record. Raises a RuntimeError."""
    epochs, steps, batch = min(trial.recipe.epochs, 3), 2, trial.recipe.batch_size
    limits = {"limit_train_batches": steps, "limit_val_batches": 1}
    few = replace(trial, recipe=trial.recipe.with_epochs(epochs), trainer=(*{**dict(trial.trainer), **limits}.items(),))
    with TemporaryDirectory() as folder:
        begin = time.perf_counter()
        result = run_process(Job(few, trial_cost(few), Path(folder), Path(folder)), lambda epoch: None)
        seconds = time.perf_counter() - begin
    if isinstance(result, Failure):
        raise RuntimeError(result.summary)
    return max(seconds - epochs * batch * (steps * pace.train + pace.validate), 0.0)


def measure_pace(trial: Trial, loader_workers: int = 0, patience: float = math.inf) -> Pace:
    """A trial's pace in this process; what it takes beside its steps is not measured."""
    batch = trial.recipe.batch_size
    with torch_threads(trial.threads):
        training = BareTraining(trial, loader_workers)
        reset_peak_memory(training.device)
        train = time_batches(training.train_epoch(0), training.device, patience)
        validate = time_batches(training.validate(), training.device, patience)
    return Pace(START, train / batch, validate / batch, peak_memory(training.device))


def time_batches(batches: Iterable[None], device: torch.device, patience: float = math.inf) -> float:
    """Seconds of one of the first; of the fastest, where there are too few to leave the very first ones out."""
    times = [time.perf_counter()]
    for _ in islice(batches, WARM + TIMED):
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter())
        if times[-1] - times[0] > patience:
            break
    taken = [after - before for before, after in pairwise(times)]
    return fmean(taken[WARM:] or [min(taken)])
