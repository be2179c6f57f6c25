"""What a trial costs beside its training: seconds with a process, checkpoints, records, logs and Lightning, or bare."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console

from ablations.bench.bare import BareTraining
from ablations.engines.local import warm_up
from ablations.engines.scheduler import Terms, run_trials
from ablations.study.folder import StudyFolder
from ablations.study.keeping import Mode
from ablations.study.trial import Plan, Trial
from ablations.training.checks import check_plan
from ablations.training.fingerprint import hash_weights
from ablations.training.status import Wanted
from ablations.training.trainer import torch_threads
from convnext_path import LADDERS, RECIPES, Data
from convnext_path.frozen import Frozen

#: One trial: the last rung of the small ladder on digits.
PLAN = Plan(
    "convnext-nano", LADDERS["convnext-nano"][-1:], (0,), Data(), (("enhanced", RECIPES["digits"]["enhanced"]),)
)


class TrialFailedError(Exception):
    """There is nothing to measure."""


@dataclass(frozen=True)
class Pair(Frozen):
    """Seconds of the same training, one after the other."""

    trial: float
    bare: float

    @property
    def overhead(self) -> float:
        """The share that a trial takes longer."""
        return self.trial / self.bare - 1


def measure_overhead(plan: Plan, pairs: int, wandb: Mode = "offline") -> Iterator[Pair]:
    """Train the plan's one trial both ways in turns, after one pair that warms up and is not counted.

    Raises:
        TrialFailedError: in a line.
    """
    warm_up(wandb)
    for number in range(pairs + 1):
        start = time.perf_counter()
        train_apart(plan, Terms(Wanted(check_plan(plan)), wandb))
        middle = time.perf_counter()
        train_bare(plan.trials()[0])
        if number:
            yield Pair(middle - start, time.perf_counter() - middle)


def train_apart(plan: Plan, terms: Terms) -> None:
    """Train as ``run`` does, in a study of its own, which is gone afterwards. Raises a TrialFailedError."""
    with tempfile.TemporaryDirectory() as folder:
        study = StudyFolder(folder)
        study.begin(plan)
        missing = run_trials(study, plan.trials(), Console(quiet=True), terms)
    if missing:
        raise TrialFailedError(missing[0][1].partition("; see ")[0])  # that folder is no more


def train_bare(trial: Trial) -> str:
    """The same steps on the same batches, validated as often, by loops and nothing else; return the weights' hash."""
    training = BareTraining(trial)
    with torch_threads(trial.threads):
        for epoch in range(trial.recipe.epochs):
            for _ in (*training.train_epoch(epoch), *training.validate()):
                pass
    return hash_weights(training.module.net)
