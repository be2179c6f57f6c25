"""Hears what a network answers while it is validated."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, distributed

from ablations.study.predictions import Answers
from convnext_path.data.datasets import Splits
from convnext_path.processes import rank_and_size


class Listener(Callback):
    """Hears what a network answers in a validation: of the last one, the likeliest class and its probability."""

    def __init__(self) -> None:
        self.parts: list[tuple[Tensor, Tensor]] = []  # a batch each: classes, probabilities

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.parts = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *batch: Any
    ) -> None:
        confidences, classes = outputs.float().softmax(1).max(1)
        self.parts.append((classes.cpu(), confidences.cpu()))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the processes' parts of each batch together, in their order."""
        _, size = rank_and_size()
        if size > 1:
            everyone: list[Any] = [None] * size
            distributed.all_gather_object(everyone, self.parts)
            self.parts = [part for batch in zip(*everyone, strict=True) for part in batch]

    def tell(self, splits: Splits, weights: str) -> Answers:
        """The answers of a network with such weights."""
        given, confidences = (torch.cat(column) for column in zip(*self.parts, strict=True))
        truth = splits.val.labels[list(splits.val_indices)[: len(given)]]
        rounded = (round(confidence, 4) for confidence in confidences.tolist())
        labels = tuple(truth.tolist()), tuple(given.tolist())
        return Answers(splits.digest, weights, splits.classes, *labels, tuple(rounded))
