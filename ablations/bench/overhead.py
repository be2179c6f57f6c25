"""What a trial costs beside its training: seconds with a process, checkpoints, records, logs and Lightning, or bare."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch.optim.lr_scheduler import LambdaLR

from ablations.engine import Terms, run_trials
from ablations.options import check_plan
from ablations.process import warm_up
from ablations.run import hash_weights, make_trainer, torch_threads
from ablations.study import Study
from ablations.tracking import Mode
from ablations.trial import Plan, Trial
from convnext_path import LADDERS, RECIPES, Data, PathModule
from convnext_path.data import Draw, EpochBatches, PathData, mix_seed
from convnext_path.frozen import Frozen
from convnext_path.module import weight_decay_groups

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
        train_whole(plan, wandb)
        middle = time.perf_counter()
        train_bare(plan.trials()[0])
        if number:
            yield Pair(middle - start, time.perf_counter() - middle)


def train_whole(plan: Plan, wandb: Mode) -> None:
    """Train as ``run`` does, in a study of its own."""
    with tempfile.TemporaryDirectory() as folder:
        study = Study(folder)
        study.begin(plan)
        missing = run_trials(study, plan.trials(), Console(quiet=True), Terms(check_plan(plan), wandb))
    if missing:
        raise TrialFailedError(missing[0][1].partition("; see ")[0])  # that folder is no more


class BareModule(PathModule):
    """The same steps; nobody keeps what they log."""

    def log(self, *args: Any, **kwargs: Any) -> None:
        pass


def train_bare(trial: Trial) -> str:
    """The same steps on the same batches, validated as often, by loops and nothing else; return the weights' hash."""
    pl.seed_everything(trial.seed, verbose=False)
    device, recipe = make_trainer(trial).strategy.root_device, trial.recipe
    data = PathData(trial.data, recipe, trial.seed)
    shape = (data.splits.num_classes, data.splits.in_channels)
    module = BareModule(trial.flags, trial.scale, recipe, *shape).to(device)
    train, val = data.train_dataloader(), data.val_dataloader()
    optimizer = torch.optim.AdamW(weight_decay_groups(module.net, recipe), recipe.peak_lr, fused=True)
    schedule = LambdaLR(optimizer, lambda step: recipe.lr_at(step / len(train)) / recipe.peak_lr)
    with torch_threads(trial.threads):
        for epoch in range(recipe.epochs):
            cast(EpochBatches, train.sampler).set_epoch(epoch)
            for number, (images, labels) in enumerate(train):
                torch.manual_seed(mix_seed(Draw.STEP, trial.seed, epoch * len(train) + number))
                torch.autograd.backward(module.training_step((images.to(device), labels.to(device)), number))
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
            validate(module.eval(), val, device)
            module.train()
    return hash_weights(module.net)


@torch.inference_mode()
def validate(module: PathModule, batches: Iterable[Any], device: torch.device) -> None:
    for number, (images, labels) in enumerate(batches):
        module.validation_step((images.to(device), labels.to(device)), number)
