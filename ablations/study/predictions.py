"""What networks answer, image by image: kept beside the records where a run asks for it, then counted and shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from scipy import stats
from torch import Tensor, distributed

from convnext_path.data.datasets import Splits
from convnext_path.frozen import Frozen
from convnext_path.processes import rank_and_size


@dataclass(frozen=True)
class Answers(Frozen):
    """A trained network's answers on the images that it is validated on, in the split's order.

    ``truth`` and ``given`` are places in ``classes``; ``confidences`` are the probabilities of what is given;
    ``data`` and ``weights`` are hashes of all images and of the network's weights, as in the record, and ``file`` is
    that of the file that holds the weights.
    """

    data: str
    weights: str
    classes: tuple[str, ...]
    truth: tuple[int, ...]
    given: tuple[int, ...]
    confidences: tuple[float, ...]
    file: str = ""

    @property
    def right(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each image's answer is its class."""
        right: np.ndarray[Any, np.dtype[np.bool_]] = np.asarray(self.truth) == np.asarray(self.given)
        return right


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


def compare_answers(first: Answers, second: Answers) -> float:
    """McNemar's exact test: the p-value of as many images that one alone has right, were both as good."""
    one, other = (int(np.sum(a.right & ~b.right)) for a, b in ((first, second), (second, first)))
    return float(stats.binomtest(one, one + other).pvalue) if one + other else 1.0


def draw_evenly(truth: Sequence[int], most: int) -> list[int]:
    """Places of ``most`` images, the same each time, of all classes alike as far as there are so many; by class."""
    labels = pd.Series(truth).sample(frac=1, random_state=0)
    turns = labels.groupby(labels).cumcount()
    chosen = labels[turns.sort_values(kind="stable").index[:most]]
    return [int(place) for place in chosen.sort_index().sort_values(kind="stable").index]


def find_mistakes(answers: Answers, most: int) -> list[int]:
    """Places of the images that are taken for another class most confidently."""
    wrong = np.flatnonzero(~answers.right)
    return [int(place) for place in wrong[np.argsort(-np.asarray(answers.confidences)[wrong], kind="stable")][:most]]
