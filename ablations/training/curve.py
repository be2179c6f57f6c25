"""What is noted of a training epoch by epoch, and what stops it."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from ablations.study.origin import Origin
from ablations.study.trial import Epoch, hash_json
from convnext_path.processes import agree, average

Report = Callable[[Epoch], None]


class DivergenceError(ArithmeticError):
    """The training loss is not a number, or infinite."""


class SameOrigin(Callback):
    """Refuses processes that together would train another trial than each: of other code, versions, data or device."""

    def __init__(self) -> None:
        self.origin = Origin()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        mine = int(hash_json(self.origin.to_dict())[:15], 16)
        if not agree(mine, pl_module.device):
            there = ", ".join(f"{name} {value}" for name, value in self.origin.facts)
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
