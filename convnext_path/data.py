"""Images on their way to a network: augmentation, order, batches, as one LightningDataModule.

What an epoch shows is a function of (seed, epoch, index) alone: the sampler permutes from (seed, epoch) and
yields (epoch, index); augmentation draws from a generator seeded with all three. So neither the number of
loader workers nor what ran before changes a training.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from convnext_path.datasets import Data, Images, Splits, open_data
from convnext_path.recipe import Recipe


class RandAugment(v2.RandAugment):
    """RandAugment as timm has it: magnitudes from 0 to 10, drawn anew for each image around ``mean``."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__(num_ops=2, magnitude=0, num_magnitude_bins=101)
        self.mean, self.std = mean, std

    def forward(self, *inputs: Any) -> Any:
        self.magnitude = round(10 * min(max(self.mean + self.std * torch.randn(()).item(), 0.0), 10.0))
        return super().forward(*inputs)


def train_transform(recipe: Recipe, splits: Splits) -> v2.Compose:
    """From a uint8 image of any size to a normalized float one of (C, image_size, image_size), at random."""
    steps: list[Any] = [
        v2.RandomResizedCrop(splits.image_size, scale=(recipe.crop_area, 1.0), antialias=True),
        v2.RandomHorizontalFlip(recipe.flip),
    ]
    if recipe.randaugment:
        steps.append(RandAugment(recipe.randaugment, recipe.randaugment_std))
    if recipe.color_jitter:
        steps.append(v2.ColorJitter(*[recipe.color_jitter] * 3))
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(splits.mean, splits.std)]
    if recipe.erasing:
        steps.append(v2.RandomErasing(recipe.erasing))
    return v2.Compose(steps)


def val_transform(recipe: Recipe, splits: Splits) -> v2.Compose:
    """The same without chance: the center of the resized image."""
    size = splits.image_size
    return v2.Compose(
        [
            v2.Resize(round(size / recipe.crop_ratio), antialias=True),
            v2.CenterCrop(size),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(splits.mean, splits.std),
        ]
    )


class Draw(IntEnum):
    """What is drawn from a seed: each has numbers of its own."""

    ORDER = 1  # of an epoch's images, from (seed, epoch)
    IMAGE = 2  # augmentation, from (seed, epoch, index)
    STEP = 3  # mixes and dropped paths of a training batch, from (seed, batches so far)


def mix_seed(draw: Draw, *numbers: int) -> int:
    """One well-spread 64-bit seed from several numbers."""
    return int(np.random.SeedSequence((draw, *numbers)).generate_state(1, np.uint64)[0])


class View(Dataset[tuple[Tensor, int]]):
    """Transformed images by (epoch, place); what is random in them follows from (seed, epoch, index)."""

    def __init__(self, images: Images, indices: Sequence[int], transform: v2.Compose, seed: int) -> None:
        self.images, self.indices, self.transform, self.seed = images, indices, transform, seed

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[tuple[Tensor, int]]:
        """A batch; the global generator, which the transforms draw from, is left as it was."""
        with torch.random.fork_rng(devices=[]):
            return [self._load(epoch, self.indices[place]) for epoch, place in keys]

    def _load(self, epoch: int, index: int) -> tuple[Tensor, int]:
        torch.default_generator.manual_seed(mix_seed(Draw.IMAGE, self.seed, epoch, index))
        return self.transform(self.images[index]), int(self.images.labels[index])


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
        transform = train_transform(self.recipe, self.splits)
        return self._loader(self.splits.train, self.splits.train_indices, transform, train=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        transform = val_transform(self.recipe, self.splits)
        return self._loader(self.splits.val, self.splits.val_indices, transform, train=False)

    def _loader(
        self, images: Images, indices: Sequence[int], transform: v2.Compose, train: bool
    ) -> DataLoader[tuple[Tensor, int]]:
        return DataLoader(
            View(images, indices, transform, self.seed),
            batch_size=self.recipe.batch_size,
            sampler=EpochSampler(len(indices), self.seed, train, self.first_epoch),
            drop_last=train,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # the loader draws a seed; not from the global generator
        )
