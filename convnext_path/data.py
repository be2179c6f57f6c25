"""Images on their way to a network: augmentation, order, batches, as one LightningDataModule.

What an epoch shows is a function of (seed, epoch, index) alone: the sampler permutes from (seed, epoch) and
yields (epoch, index); augmentation draws from a generator seeded with all three. So neither the number of
loader workers nor what ran before changes a training.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from hashlib import sha256
from random import Random

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from convnext_path.augment import augment, center
from convnext_path.datasets import Data, Splits, open_data
from convnext_path.recipe import Recipe

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


class View(Dataset[tuple[Tensor, int]]):
    """Images ready for the network, by (epoch, place); what is random in them follows from (seed, epoch, index)."""

    def __init__(self, splits: Splits, recipe: Recipe, seed: int, train: bool) -> None:
        self.splits, self.recipe, self.seed, self.train = splits, recipe, seed, train
        self.images, self.indices = splits.train, splits.train_indices
        if not train:
            self.images, self.indices = splits.val, splits.val_indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[tuple[Tensor, int]]:
        """A batch, part by part."""
        part = max(1, PIXELS_AT_ONCE // self.splits.image_size**2)
        return [pair for start in range(0, len(keys), part) for pair in self._load(keys[start : start + part])]

    def _load(self, keys: Sequence[tuple[int, int]]) -> Iterator[tuple[Tensor, int]]:
        keys = [(epoch, self.indices[place]) for epoch, place in keys]
        images = [self.images[index] for _, index in keys]
        if self.train:
            draws = [Random(mix_seed(Draw.IMAGE, self.seed, *key)) for key in keys]
            batch = augment(images, draws, self.recipe, self.splits)
        else:
            batch = center(images, self.recipe, self.splits)
        return zip(batch, (int(self.images.labels[index]) for _, index in keys), strict=True)


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, place) for each place of ``length``, in an order of its own each epoch; Lightning sets the epoch."""

    def __init__(self, length: int, seed: int, shuffle: bool, epoch: int = 0) -> None:
        self.length, self.seed, self.shuffle, self.epoch = length, seed, shuffle, epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng(mix_seed(Draw.ORDER, self.seed, self.epoch)).permutation(self.length)
        return ((self.epoch, int(i)) for i in order)


class PathData(pl.LightningDataModule):
    """Loaders over ``data`` with the augmentation of ``recipe``; the last, smaller training batch is dropped.

    ``first_epoch`` is the one that a resumed training begins with: workers fetch its first images before
    Lightning tells the sampler.

    Raises:
        ValueError: what :func:`open_data` raises, or a batch larger than the training set.
    """

    def __init__(self, data: Data, recipe: Recipe, seed: int = 0, workers: int = 0, first_epoch: int = 0) -> None:
        super().__init__()
        self.splits, self.recipe, self.seed, self.workers = open_data(data), recipe, seed, workers
        self.first_epoch = first_epoch
        found = len(self.splits.train_indices)
        if recipe.batch_size > found:
            raise ValueError(f"batch_size is {recipe.batch_size}, but there are {found} training images; lower it")

    def train_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        return self._loader(train=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        return self._loader(train=False)

    def _loader(self, train: bool) -> DataLoader[tuple[Tensor, int]]:
        view = View(self.splits, self.recipe, self.seed, train)
        return DataLoader(
            view,
            batch_size=self.recipe.batch_size,
            sampler=EpochSampler(len(view), self.seed, train, self.first_epoch),
            drop_last=train,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # the loader draws a seed; not from the global generator
        )
