"""One trial in, one result out: trains a rung with Lightning in this process, from a checkpoint on if there is one."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch

from ablations.study.checkpoints import epochs_done
from ablations.study.origin import Fingerprint, Origin
from ablations.study.predictions import Answers
from ablations.study.trial import Result, Seen, Trial
from ablations.training.checkpoint import KeepEpochs
from ablations.training.costs import trial_cost
from ablations.training.curve import Curve, Report, SameOrigin
from ablations.training.fingerprint import EnoughError, FirstSteps, hash_weights
from ablations.training.listener import Listener
from ablations.training.memory import peak_memory, reset_peak_memory
from ablations.training.provenance import environment, origin
from ablations.training.ranks import ALONE, Rank
from ablations.training.seen import describe_splits
from ablations.training.trainer import ctrl_c_raises, make_trainer, quiet_lightning, torch_threads
from convnext_path import Cost, PathModule
from convnext_path.data.datasets import Splits
from convnext_path.data.module import PathData
from convnext_path.networks.registry import begin

Keep = Callable[[torch.nn.Module, Answers], None]


@quiet_lightning()
def run_trial(
    trial: Trial,
    loader_workers: int = 0,
    report: Report | None = None,
    folder: Path | None = None,
    checkpoint: Path | None = None,
    counted: Cost | None = None,
    rank: Rank = ALONE,
    keep: Keep | None = None,
) -> Result:
    """Train one trial; ``report`` hears of each epoch as it ends.

    Args:
        trial: what to train.
        loader_workers: processes that read images; the result does not depend on them.
        report: called with each epoch.
        folder: where to keep a checkpoint an epoch.
        checkpoint: one of the same trial to go on from; the result is that of a training without a break.
        counted: the costs, where they have been counted before.
        rank: which of the processes that train it together this is; all give the same result.
        keep: called with the trained network and its answers on the images that it was validated on.

    Raises:
        ValueError: the data cannot be had, or does not fit the recipe; a damaged checkpoint.
        DivergenceError: the loss left the numbers.
    """
    data, module = set_up(trial, loader_workers, epochs_done(checkpoint) if checkpoint else 0)
    curve, steps, alike = Curve(trial.recipe.batch_size, report), FirstSteps(), SameOrigin()
    listener, epochs = Listener() if keep else None, KeepEpochs(folder) if folder else None
    trainer = make_trainer(trial, [*filter(None, (alike, curve, steps, epochs, listener))], rank)
    device = trainer.strategy.root_device
    alike.origin = origin(device, data.splits.digest, trial.threads)  # before training: the code is that which runs
    reset_peak_memory(device)
    with ctrl_c_raises(trainer), torch_threads(trial.threads):
        fit(trainer, module, data, curve, checkpoint)
    weights = hash_weights(module.net)
    if keep and listener:
        keep(module.net, listener.tell(data.splits, weights))
    facts = counted or trial_cost(trial), weights, steps.fingerprint, describe_splits(data.splits)
    return make_result(trial, curve, Made(device, alike.origin, *facts))


def set_up(trial: Trial, loader_workers: int, first_epoch: int = 0) -> tuple[PathData, PathModule]:
    """A trial's images and network, as they are before the first step."""
    pl.seed_everything(trial.seed, verbose=False)
    data = PathData(trial.data, trial.recipe, trial.seed, loader_workers, first_epoch)
    return data, make_module(trial, data.splits)


@quiet_lightning()
def take_first_steps(trial: Trial, loader_workers: int = 0, rank: Rank = ALONE) -> tuple[Fingerprint, Origin]:
    """What a trial gives here in its first steps, and with what origin; the rest of it is not trained.

    Raises:
        ValueError: the data cannot be had, or does not fit the recipe.
    """
    data, module = set_up(trial, loader_workers)
    steps = FirstSteps(stop=True)
    trainer = make_trainer(trial, [steps], rank)
    with torch_threads(trial.threads), suppress(EnoughError):
        trainer.fit(module, data)
    return steps.fingerprint, origin(trainer.strategy.root_device, data.splits.digest, trial.threads)


@dataclass(frozen=True)
class Made:
    """What a record holds beside a curve: where and by what it was made, costs, hash of the weights, and so on."""

    device: torch.device
    origin: Origin
    cost: Cost
    weights: str
    fingerprint: Fingerprint
    seen: Seen


def make_result(trial: Trial, curve: Curve, made: Made) -> Result:
    """What a training that is over has given."""
    return Result(
        trial=trial,
        cost=made.cost,
        top1=curve.top1,
        top5=curve.top5,
        curve=tuple(curve.epochs),
        seconds=curve.seconds,
        images_per_second=curve.images / curve.training_seconds,
        peak_memory=peak_memory(made.device),
        origin=made.origin,
        environment=tuple(sorted(environment().items())),
        weights=made.weights,
        fingerprint=made.fingerprint,
        seen=made.seen,
    )


def fit(trainer: pl.Trainer, module: PathModule, data: PathData, curve: Curve, checkpoint: Path | None) -> None:
    """Train to the end, and validate the last epoch, whatever the options say of others."""
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    if curve.validated_at != trainer.global_step:  # not the network as it is now
        trainer.validate(module, data, verbose=False)
        curve.complete_last()
    if not math.isfinite(curve.top1):
        raise ValueError("nothing was validated")


def make_module(trial: Trial, splits: Splits) -> PathModule:
    design, shape = (trial.flags, trial.scale, trial.recipe), (splits.num_classes, splits.in_channels)
    module = PathModule(*design, *shape, trial.seed, image_size=splits.image_size)
    begin(module.net, trial.flags, trial.scale, *shape, splits.image_size)
    if trial.compile:
        module.net.compile()
    return module
