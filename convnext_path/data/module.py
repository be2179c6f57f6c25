"""Images on their way to a network: augmentation, order, batches, as one LightningDataModule.

What an epoch shows is a function of (seed, epoch, index) alone: the sampler permutes from (seed, epoch) and
yields (epoch, index); augmentation draws from a generator seeded with all three. So neither the number of
loader workers nor what ran before changes a training, nor into how many processes its batches are cut.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from hashlib import sha256
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from convnext_path.data.augment import augment, center
from convnext_path.data.datasets import Splits, open_data
from convnext_path.data.selection import Data
from convnext_path.processes import rank_and_size
from convnext_path.recipe import Recipe, check_batch

#: So many of a batch go through augmentation at once: what is made of them stays in a processor's cache.
PIXELS_AT_ONCE = 2**16


class Draw(IntEnum):
    """What is drawn from a seed: each has numbers of its own."""

    ORDER = 1  # of an epoch's images, from (seed, epoch)
    IMAGE = 2  # augmentation, from (seed, epoch, index)
    STEP = 3  # mixes and dropped paths of a training batch, from (seed, batches so far)


def mix_seed(draw: Draw, *numbers: int) -> int:
    """One well-spread 64-bit seed from several numbers."""
    return int.from_bytes(sha256(" ".join(map(str, (draw, *numbers))).encode()).digest()[:8])


Key = tuple[int, int]  # epoch, place in the split


class View(Dataset[tuple[Tensor, Tensor]]):
    """Batches ready for the network, by their images' keys; what is random in one follows from (seed, epoch, index)."""

    def __init__(self, splits: Splits, recipe: Recipe, seed: int, train: bool) -> None:
        self.splits, self.recipe, self.seed, self.train = splits, recipe, seed, train
        self.images, self.indices = splits.train, splits.train_indices
        if not train:
            self.images, self.indices = splits.val, splits.val_indices

    def __len__(self) -> int:
        """Images, in all batches together."""
        return len(self.indices)

    def __getitem__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        """Images of (N, C, H, W) and labels of (N), loaded part by part."""
        part = max(1, PIXELS_AT_ONCE // self.splits.image_size**2)
        indices = [(epoch, self.indices[place]) for epoch, place in keys]
        images = torch.cat([self._load(indices[start : start + part]) for start in range(0, len(keys), part)])
        return images, torch.tensor([int(self.images.labels[index]) for _, index in indices])

    def _load(self, indices: Sequence[tuple[int, int]]) -> Tensor:
        images = [self.images[index] for _, index in indices]
        if not self.train:
            return center(images, self.recipe, self.splits)
        draws = [Random(mix_seed(Draw.IMAGE, self.seed, *index)) for index in indices]
        return augment(images, draws, self.recipe, self.splits)


class EpochBatches(Sampler[list[Key]]):
    """This process's part of each batch of an epoch, as keys; Lightning sets the epoch.

    In training, in an order of the epoch's own, whole batches alone, each cut into ``size`` parts as large. In
    validation in order, each image once; a last batch too small to be cut goes with the one before.

    Args:
        length: images of the split.
        batch_size: of all processes together.
        seed: decides the orders.
        train: for training, or for validation.
        epoch: the first.
        rank, size: which part of how many.
        lead_in: before its part each process has the image that comes before it in the batch (before the first: the
            last one), to be mixed with the part's first.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        train: bool,
        epoch: int = 0,
        rank: int = 0,
        size: int = 1,
        lead_in: bool = False,
    ) -> None:
        self.length, self.seed, self.train, self.epoch = length, seed, train, epoch
        self.rank, self.size, self.lead_in = rank, size, lead_in
        end = length // batch_size * batch_size if train else length
        starts = [*range(0, end, batch_size)]
        if len(starts) > 1 and end - starts[-1] < size:
            starts.pop()
        self.bounds = [*pairwise([*starts, end])]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches."""
        return len(self.bounds)

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self.length)
        if self.train:
            order = np.random.default_rng(mix_seed(Draw.ORDER, self.seed, self.epoch)).permutation(self.length)
        return (self._take_part(order[start:end]) for start, end in self.bounds)

    def _take_part(self, batch: np.ndarray[Any, Any]) -> list[Key]:
        part = np.array_split(np.arange(len(batch)), self.size)[self.rank]
        places = batch[[part[0] - 1, *part] if self.lead_in else part]
        return [(self.epoch, int(place)) for place in places]


class PathData(pl.LightningDataModule):
    """A LightningDataModule that loads ``data`` with the augmentation of ``recipe``.

    The last training batch is dropped if it is smaller than the others. ``first_epoch`` is the epoch that a resumed
    training run starts with. It is needed because workers load images before Lightning sets the epoch. If several
    processes train together, each loads its part of every batch. If the recipe mixes images, it loads one image more.

    Raises:
        ValueError: the data cannot be opened, or a batch is larger than the training set.
    """

    def __init__(self, data: Data, recipe: Recipe, seed: int = 0, workers: int = 0, first_epoch: int = 0) -> None:
        super().__init__()
        self.splits, self.recipe, self.seed, self.workers = open_data(data), recipe, seed, workers
        self.first_epoch = first_epoch
        check_batch(recipe, len(self.splits.train_indices))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return self._loader(train=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return self._loader(train=False)

    def first_validation(self, most: int) -> tuple[Tensor, Tensor]:
        """At most the first ``most`` validation images, (N, C, H, W), and their labels, loaded in this process."""
        view = View(self.splits, self.recipe, self.seed, train=False)
        return view[[(0, place) for place in range(min(most, len(view)))]]

    def _loader(self, train: bool) -> DataLoader[tuple[Tensor, Tensor]]:
        view = View(self.splits, self.recipe, self.seed, train)
        rank, size = rank_and_size()
        lead_in = train and size > 1 and self.recipe.mixes
        whole = len(view), self.recipe.batch_size, self.seed, train, self.first_epoch
        return DataLoader(
            view,
            batch_size=None,  # the view gives batches
            sampler=EpochBatches(*whole, rank, size, lead_in),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # the loader draws a seed; not from the global generator
        )
