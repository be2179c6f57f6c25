from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from convnext_path import RECIPES, Data, PathData
from convnext_path.data import EpochSampler, RandAugment, train_transform, val_transform
from convnext_path.datasets import open_data
from tests.conftest import DIGITS

Maker = Callable[..., Path]
RECIPE = replace(RECIPES["digits"]["enhanced"], batch_size=16)


def batches(data: PathData, epoch: int) -> list[torch.Tensor]:
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, EpochSampler)
    loader.sampler.set_epoch(epoch)
    return [tensor for batch in loader for tensor in batch]


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_workers_or_on_what_came_before(workers: int) -> None:
    torch.manual_seed(1)
    plain = batches(PathData(DIGITS, RECIPE, seed=3), epoch=2)
    torch.manual_seed(2)
    data = PathData(DIGITS, RECIPE, seed=3, workers=workers)
    batches(data, epoch=1)
    assert all(torch.equal(a, b) for a, b in zip(plain, batches(data, epoch=2), strict=True))


def test_epochs_and_seeds_differ_and_show_each_image_once() -> None:
    data = PathData(DIGITS, replace(RECIPE, batch_size=100), seed=0)
    first, second = batches(data, 0), batches(data, 1)
    other = batches(PathData(DIGITS, replace(RECIPE, batch_size=100), seed=1), 0)
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[0], other[0])
    assert sorted(first[1].tolist()) == sorted(second[1].tolist()) == sorted(other[1].tolist())
    assert sorted(EpochSampler(50, 7, shuffle=True)) == [(0, i) for i in range(50)]


def test_loading_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    batches(PathData(DIGITS, RECIPE), 0)
    assert torch.equal(torch.rand(3), expected)


def test_validation_is_whole_in_order_and_without_chance() -> None:
    data = PathData(DIGITS, RECIPE)
    first, second = ([images for images, _ in data.val_dataloader()] for _ in range(2))
    assert sum(map(len, first)) == 360
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size is 101, but there are 100 training images"):
        PathData(DIGITS, replace(RECIPE, batch_size=101))


@pytest.mark.parametrize("name", ["imagenet", "cifar", "digits"])
def test_transforms_give_the_size_asked_for(name: str, tmp_path: Path, make_images: Maker) -> None:
    splits = open_data(Data("imagefolder", root=str(make_images(tmp_path)), image_size=48))
    for recipe in RECIPES[name].values():
        for transform in (train_transform(recipe, splits), val_transform(recipe, splits)):
            image = transform(splits.train[0])
            assert (image.shape, image.dtype) == ((3, 48, 48), torch.float32)
            assert image.isfinite().all()


def test_rand_augment_draws_its_magnitude_for_each_image() -> None:
    torch.manual_seed(0)
    augment, image, drawn = RandAugment(9, 0.5), torch.zeros(3, 8, 8, dtype=torch.uint8), []
    for _ in range(200):
        augment(image)
        drawn.append(augment.magnitude)
    assert all(0 <= magnitude <= 100 for magnitude in drawn)
    assert np.mean(drawn) == pytest.approx(90, abs=2)
    assert 3 < np.std(drawn) < 6
