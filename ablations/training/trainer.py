"""Lightning's trainer as trials have it, and what it runs under."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from pytorch_lightning.trainer.states import TrainerFn
from torch.utils.data import DataLoader

from ablations.study.trial import Trial
from ablations.training.checkpoint import SafeCheckpoints
from ablations.training.ranks import ALONE, Rank, RankEnvironment
from convnext_path.data.module import EpochBatches
from convnext_path.networks.layers import BatchNorm2d

#: Lightning's options that differ here, unless a trial says otherwise.
TRAINER: dict[str, Any] = {"devices": 1, "num_sanity_val_steps": 0}
#: Those by which Lightning counts the batches of an epoch and of a validation.
COUNTED = ("limit_train_batches", "limit_val_batches", "val_check_interval", "accumulate_grad_batches")

ADVICE = (
    ".*does not have many workers.*",
    ".*number of training batches.*",
    ".*GPU available but not used.*",
    ".*LeafSpec.*",  # Lightning's own use of torch
    ".*AMP with fp16 is not supported on CPU.*",  # refused by name before any training
    ".*is supported for historical reasons.*",  # precisions by their old names
    ".*Grad strides do not match.*",  # a depthwise kernel's, in a dimension of one
)


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


@contextmanager
def without_variables(beginning: str) -> Iterator[None]:
    """Without the environment's variables of such names, which would be options that nobody sees."""
    found = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith(beginning)}
    try:
        yield
    finally:
        os.environ.update(found)


@quiet_lightning()
@without_variables("PL_TRAINER_")
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


class Blank(pl.LightningModule):
    """Trains and validates nothing: for Lightning to count by."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Never taken."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Never taken."""


def make_loader(images: int, batch_size: int, train: bool) -> DataLoader[Any]:
    """One with the batches of so many images, and no images."""
    return DataLoader(range(images), batch_size=None, sampler=EpochBatches(images, batch_size, 0, train))  # type: ignore[arg-type]


@quiet_lightning()
def count_batches(trial: Trial, train: int, val: int) -> tuple[int, int, int]:
    """As Lightning sets them up, of so many images: batches of an epoch, its optimizer steps, batches of a validation.

    Raises:
        Exception: whatever Lightning has against the trial's options, of whatever kind.
    """
    trainer, module = make_trainer(trial), Blank()
    training, validating = (make_loader(n, trial.recipe.batch_size, t) for n, t in ((train, True), (val, False)))
    trainer.strategy.connect(module)
    trainer.strategy._lightning_module = module
    trainer._data_connector.attach_data(module, train_dataloaders=training, val_dataloaders=validating)
    trainer.state.fn, trainer.training = TrainerFn.FITTING, True
    trainer.fit_loop.setup_data()
    validation = trainer.fit_loop.epoch_loop.val_loop
    validation.setup_data()
    steps = int(trainer.estimated_stepping_batches) // trial.recipe.epochs
    return int(trainer.num_training_batches), steps, int(sum(validation.max_batches))
