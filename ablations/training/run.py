"""One trial in, one result out: trains a rung with Lightning in this process, from its last whole checkpoint on."""

import hashlib
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm

from ablations.study.predictions import Answers, Listener
from ablations.study.trial import Epoch, Result, Trial
from ablations.training.checkpoint import KeepEpochs, SafeCheckpoints, epochs_done
from ablations.training.provenance import environment, origin, peak_memory, reset_peak_memory
from ablations.training.ranks import ALONE, Rank, RankEnvironment
from convnext_path import Cost, PathModule
from convnext_path.counting import count_network
from convnext_path.data.datasets import Splits, open_data
from convnext_path.data.module import PathData
from convnext_path.files import digest
from convnext_path.networks.layers import BatchNorm2d
from convnext_path.networks.registry import begin
from convnext_path.processes import agree, average

#: Lightning's options that differ here, unless a trial says otherwise.
TRAINER: dict[str, Any] = {"devices": 1, "num_sanity_val_steps": 0}

ADVICE = (
    ".*does not have many workers.*",
    ".*number of training batches.*",
    ".*GPU available but not used.*",
    ".*LeafSpec.*",  # Lightning's own use of torch
    ".*Grad strides do not match.*",  # a depthwise kernel's, in a dimension of one
)

Report = Callable[[Epoch], None]
Keep = Callable[[torch.nn.Module, Answers], None]


class DivergenceError(ArithmeticError):
    """The training loss is not a number, or infinite."""


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's tips and advice: what they speak of is set on purpose."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric.utilities.distributed")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for advice in ADVICE:
            warnings.filterwarnings("ignore", message=advice)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


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
    pl.seed_everything(trial.seed, verbose=False)
    first_epoch = epochs_done(checkpoint) if checkpoint else 0
    data = PathData(trial.data, trial.recipe, trial.seed, loader_workers, first_epoch)
    splits = data.splits
    module = make_module(trial, splits)
    curve, alike = Curve(trial.recipe.batch_size, report), SameOrigin()
    listener, epochs = Listener() if keep else None, KeepEpochs(folder) if folder else None
    trainer = make_trainer(trial, [*filter(None, (alike, curve, epochs, listener))], rank)
    device = trainer.strategy.root_device
    alike.origin = origin(device, splits.digest)  # before training: the code is that which runs
    reset_peak_memory(device)
    with ctrl_c_raises(trainer), torch_threads(trial.threads):
        fit(trainer, module, data, curve, checkpoint)
    if keep and listener:
        keep(module.net, listener.tell(splits, hash_weights(module.net)))
    return make_result(trial, curve, module, counted or trial_cost(trial), device, alike.origin)


def make_result(
    trial: Trial, curve: "Curve", module: PathModule, cost: Cost, device: torch.device, decided: Mapping[str, object]
) -> Result:
    """What a training that is over has given."""
    return Result(
        trial=trial,
        cost=cost,
        top1=curve.top1,
        top5=curve.top5,
        curve=tuple(curve.epochs),
        seconds=curve.seconds,
        images_per_second=curve.images / curve.training_seconds,
        peak_memory=peak_memory(device),
        origin=tuple(sorted(decided.items())),
        environment=tuple(sorted(environment().items())),
        weights=hash_weights(module.net),
    )


def fit(trainer: pl.Trainer, module: PathModule, data: PathData, curve: "Curve", checkpoint: Path | None) -> None:
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


class SyncBatchNorms(TorchSyncBatchNorm):
    """What ``--trainer.sync_batchnorm`` does, on a CPU too."""

    def apply(self, model: torch.nn.Module) -> torch.nn.Module:
        return _set_synced(model, True)

    def revert(self, model: torch.nn.Module) -> torch.nn.Module:
        return _set_synced(model, False)


def _set_synced(model: torch.nn.Module, synced: bool) -> torch.nn.Module:
    for layer in model.modules():
        if isinstance(layer, BatchNorm2d):
            layer.synced = synced
    return model


def hash_weights(net: torch.nn.Module) -> str:
    """The SHA-256 of a network's parameters and buffers, by name and to the bit."""
    total = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """With so many threads of torch on the CPU: with another number, sums are taken in another order."""
    before, name = torch.get_num_threads(), "OMP_NUM_THREADS"
    told = os.environ.get(name)
    torch.set_num_threads(count)
    os.environ[name] = str(count)  # else Lightning chooses for processes that train together
    try:
        yield
    finally:
        torch.set_num_threads(before)
        os.environ.pop(name)
        if told is not None:
            os.environ[name] = told


@contextmanager
def ctrl_c_raises(trainer: pl.Trainer) -> Iterator[None]:
    """On Ctrl-C raise KeyboardInterrupt, where Lightning would exit as if something had failed."""
    try:
        yield
    except SystemExit as stop:
        if trainer.interrupted and stop.code == 1:  # Lightning's way out of a KeyboardInterrupt
            raise KeyboardInterrupt from None
        raise


@quiet_lightning()
def make_trainer(trial: Trial, callbacks: Sequence[Callback] = (), rank: Rank = ALONE) -> pl.Trainer:
    """Lightning's trainer with the trial's options, and none of its own output."""
    options = {**TRAINER, **dict(trial.trainer)}
    sync = [SyncBatchNorms()] if options.get("sync_batchnorm") else []
    return pl.Trainer(
        max_epochs=trial.recipe.epochs,
        callbacks=[*callbacks],
        logger=False,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        plugins=[SafeCheckpoints(), RankEnvironment(rank), *sync],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # ours is
        **options,
    )


def count_processes(trial: Trial) -> tuple[int, int]:
    """How many a trial takes on each node, and nodes."""
    trainer = make_trainer(trial)
    return trainer.num_devices, trainer.num_nodes


def find_device(trial: Trial) -> torch.device:
    """Where a trial would train here; the first of several."""
    device: torch.device = make_trainer(trial).strategy.root_device
    return device


def trial_cost(trial: Trial) -> Cost:
    """The costs of a trial's network for one of its images."""
    splits = open_data(trial.data)
    return network_cost(trial, splits.num_classes, splits.in_channels, splits.image_size)


def network_cost(trial: Trial, num_classes: int, in_channels: int, image_size: int) -> Cost:
    """The same for images that need not be there."""
    return count_network(trial.flags, trial.scale, trial.recipe, num_classes, in_channels, image_size)


class SameOrigin(Callback):
    """Refuses processes that together would train another trial than each: of other code, versions, data or device."""

    def __init__(self) -> None:
        self.origin: dict[str, object] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        mine = int(digest(json.dumps(self.origin, sort_keys=True).encode())[:15], 16)
        if not agree(mine, pl_module.device):
            there = ", ".join(f"{name} {value}" for name, value in sorted(self.origin.items()))
            raise ValueError(f"its processes would train other trials; rank {trainer.global_rank} has {there}")


class Curve(Callback):
    """Keeps a point an epoch, and the time of it all and of training alone; stops where the loss is no number."""

    def __init__(self, batch_size: int, report: Report | None = None) -> None:
        self.batch_size, self.report, self.epochs = batch_size, report, list[Epoch]()
        self.val_loss, self.top1, self.top5, self.validated = math.nan, math.nan, math.nan, False
        self.validated_at: int | None = None  # step of the optimizer
        self.images, self.training_seconds, self._before = 0, 0.0, 0.0  # seconds before a break
        self._begin = self._batch = time.perf_counter()

    @property
    def seconds(self) -> float:
        """From the start, breaks left out."""
        return self._before + time.perf_counter() - self._begin

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain values."""
        epochs = [epoch.to_dict() for epoch in self.epochs]
        times = {"training_seconds": self.training_seconds, "seconds": self.seconds}
        return {"epochs": epochs, "images": self.images, **times, "top1": self.top1, "top5": self.top5}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs = [Epoch.from_dict(epoch) for epoch in state_dict["epochs"]]
        self.images, self.training_seconds = state_dict["images"], state_dict["training_seconds"]
        self.top1, self.top5, self._before = state_dict["top1"], state_dict["top5"], state_dict["seconds"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batch = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += self.batch_size
        now = time.perf_counter()
        self.training_seconds += now - self._batch
        self._batch = now
        loss = float(average(outputs["loss"].detach()))
        if not math.isfinite(loss):
            raise DivergenceError(f"training loss {loss} at step {batch_idx + 1} of epoch {trainer.current_epoch + 1}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        metrics = trainer.callback_metrics
        self.val_loss, self.validated, self.validated_at = float(metrics["val/loss"]), True, trainer.global_step
        self.top1, self.top5 = 100 * float(metrics["val/top1"]), 100 * float(metrics["val/top5"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss, lr = float(trainer.callback_metrics["train/loss"]), trainer.optimizers[0].param_groups[0]["lr"]
        self.epochs.append(Epoch(trainer.current_epoch + 1, lr, loss, images=self.images))
        if self.validated:
            self.complete_last()
        self.validated = False
        if self.report:
            self.report(self.epochs[-1])

    def complete_last(self) -> None:
        """Give the last epoch what validation found."""
        self.epochs[-1] = replace(self.epochs[-1], val_loss=self.val_loss, top1=self.top1, top5=self.top5)
