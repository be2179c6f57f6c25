"""About how long a run will take, from seconds of measuring: what ``run`` says before it begins."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from ablations.planning.budget import pack, trial_seconds
from ablations.planning.measure import measure_paces
from ablations.planning.throughput import START, Pace, measure_extent
from ablations.study.trial import Trial
from ablations.training.costs import trial_cost
from ablations.training.trainer import count_processes

QUICK = 2e10  # multiply-accumulates, forward, of a batch that is measured
PATIENCE = 1.0  # seconds of training, and of validation, that a rung is measured for


def estimate_seconds(trials: Sequence[Trial], slots: int, loader_workers: int = 0) -> float:
    """Until all are trained, ``slots`` at a time, by the pace of the first, the middle and the last of them.

    Time is taken to go with multiply-accumulates, and to be shared evenly by a trial's processes.

    Raises:
        RuntimeError, MemoryError: a process ends without its pace.
    """
    probes = {trial.rung: shorten(trial) for trial in (trials[0], trials[len(trials) // 2], trials[-1])}
    slots = min(max(slots, 1), len(trials))
    paces = measure_paces([*probes.values()], min(slots, len(probes)), loader_workers, PATIENCE)
    macs = {rung: trial_cost(probe).all_macs for rung, probe in probes.items()}
    train = fmean(pace.train / macs[rung] for rung, pace in paces.items())  # seconds a multiply-accumulate
    validate = fmean(pace.validate / macs[rung] for rung, pace in paces.items())

    def find_pace(trial: Trial) -> Pace:
        here = trial_cost(trial).all_macs
        return paces.get(trial.rung) or Pace(START, train * here, validate * here, memory=math.nan)

    extent, processes = measure_extent(trials[0].data), math.prod(count_processes(trials[0]))
    return pack((trial_seconds(trial, find_pace(trial), extent) / processes for trial in trials), slots)


def shorten(trial: Trial) -> Trial:
    """The same in batches that are quick to compute, and not compiled, which takes a minute."""
    batch = int(max(2, min(trial.recipe.batch_size, QUICK / trial_cost(trial).all_macs)))
    return replace(trial, recipe=replace(trial.recipe, batch_size=batch), compile=False)
