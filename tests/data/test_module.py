import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convnext_path import RECIPES, Data, PathData
from convnext_path.data.datasets import open_data
from convnext_path.data.module import Draw, EpochBatches, View, mix_seed
from tests.conftest import DIGITS

Maker = Callable[..., Path]
RECIPE = replace(RECIPES["digits"]["enhanced"], batch_size=16)


def batches(data: PathData, epoch: int) -> list[torch.Tensor]:
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, EpochBatches)
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


def test_loading_leaves_the_global_generators_alone() -> None:
    before = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()
    batches(PathData(DIGITS, replace(RECIPE, color_jitter=0.4, erasing=0.5)), 0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (repr(np.random.get_state()), random.getstate()) == before[1:]


def test_validation_is_whole_in_order_and_without_chance() -> None:
    data = PathData(DIGITS, RECIPE)
    first, second = ([images for images, _ in data.val_dataloader()] for _ in range(2))
    assert sum(map(len, first)) == 360
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(
        ValueError, match="the batch size is 101, but there are only 100 training images; .* 100, and 10 gives 10 "
    ):
        PathData(DIGITS, replace(RECIPE, batch_size=101))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("data", [DIGITS, "folder"], ids=["gray", "rgb"])
def test_an_image_follows_from_seed_epoch_and_index(
    name: str, train: bool, data: Data | str, tmp_path: Path, make_images: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from its batch, the order, or what goes through augmentation at once."""
    if isinstance(data, str):
        data = Data("imagefolder", root=str(make_images(tmp_path)), image_size=48)
    splits = open_data(data)
    view = View(splits, RECIPES[name]["enhanced"], 3, train)
    keys = [(epoch, place) for epoch in range(3) for place in range(min(len(view), 30))]
    together, labels = view[keys]
    assert together.shape == (len(keys), splits.in_channels, splits.image_size, splits.image_size)
    assert (together.dtype, labels.dtype, labels.shape) == (torch.float32, torch.int64, (len(keys),))
    monkeypatch.setattr("convnext_path.data.module.PIXELS_AT_ONCE", 3 * splits.image_size**2)
    for part in filter(None, (keys[::-1], keys[5:7], keys[8:9])):
        places = [keys.index(key) for key in part]
        assert all(torch.equal(some, whole[places]) for some, whole in zip(view[part], (together, labels), strict=True))


@given(
    length=st.integers(1, 200),
    batch=st.integers(2, 32),
    size=st.integers(1, 8),
    epoch=st.integers(0, 3),
    train=st.booleans(),
)
def test_parts_of_batches_make_up_the_batches(length: int, batch: int, size: int, epoch: int, train: bool) -> None:
    batch = batch // size * size or size
    alone = [*EpochBatches(length, batch, 7, train, epoch)]
    parts = [[*EpochBatches(length, batch, 7, train, epoch, rank, size)] for rank in range(size)]
    assert {len(part) for part in parts} == {len(EpochBatches(length, batch, 7, train, epoch, 0, size))}
    together = [[key for part in step for key in part] for step in zip(*parts, strict=True)]
    keys = [key for keys in alone for key in keys]
    assert [key for keys in together for key in keys] == keys
    assert len({*keys}) == len(keys) == (length // batch * batch if train else length)
    if train:
        assert together == alone
        assert {len(keys) for part in parts for keys in part} <= {batch // size}
    elif length >= size:
        assert all(keys for part in parts for keys in part)


@given(batch=st.integers(1, 8), size=st.integers(2, 4))
def test_the_image_before_leads_in(batch: int, size: int) -> None:
    (whole,) = EpochBatches(batch * size, batch * size, 3, train=True)
    for rank in range(size):
        ((first, *part),) = EpochBatches(batch * size, batch * size, 3, True, 0, rank, size, lead_in=True)
        assert part == whole[rank * batch :][:batch]
        assert first == whole[rank * batch - 1]


def test_other_seeds_epochs_and_places_draw_other_numbers() -> None:
    """And the kind of an integer does not matter."""
    numbers = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (12, 0, 0), (1, 20, 0), (0, 0, 120), (0, 0)]
    assert len({mix_seed(draw, *some) for some in numbers for draw in Draw}) == len(numbers) * len(Draw)
    assert mix_seed(Draw.IMAGE, *np.arange(3)) == mix_seed(Draw.IMAGE, 0, 1, 2)
    assert all(0 <= mix_seed(Draw.STEP, i) < 2**64 for i in range(100))
