import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from convnext_path import RECIPES, Data, PathData
from convnext_path.data import EpochSampler, RandAugment, open_data, train_transform, val_transform
from tests.conftest import DIGITS

Maker = Callable[..., Path]
RECIPE = replace(RECIPES["digits"]["enhanced"], batch_size=16)


def batches(data: PathData, epoch: int) -> list[torch.Tensor]:
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, EpochSampler)
    loader.sampler.set_epoch(epoch)
    return [tensor for batch in loader for tensor in batch]


def test_digits_are_split_once_and_for_all() -> None:
    splits = open_data(Data("digits"))
    assert (len(splits.train_indices), len(splits.val_indices)) == (1437, 360)
    assert not set(splits.train_indices) & set(splits.val_indices)
    assert (splits.num_classes, splits.in_channels, splits.image_size) == (10, 1, 32)
    pixels = torch.stack([splits.train[i] for i in splits.train_indices]).float() / 255
    assert splits.mean == pytest.approx([pixels.mean().item()], abs=1e-3)
    assert splits.std == pytest.approx([pixels.std().item()], abs=1e-3)


def test_limit_train_is_stratified_and_the_same_each_time() -> None:
    splits = open_data(Data("digits", limit_train=200))
    counts = Counter(splits.train.labels[list(splits.train_indices)].tolist())
    assert sum(counts.values()) == 200
    assert max(counts.values()) - min(counts.values()) <= 2
    open_data.cache_clear()
    assert open_data(Data("digits", limit_train=200)).train_indices == splits.train_indices


def test_holdout_leaves_the_test_split_alone() -> None:
    whole, held = open_data(Data("digits")), open_data(Data("digits", holdout=0.2))
    assert sorted([*held.train_indices, *held.val_indices]) == list(whole.train_indices)
    assert len(held.val_indices) == round(0.2 * 1437 + 0.5)


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


def test_folder_with_train_and_val(tmp_path: Path, make_images: Maker) -> None:
    make_images(tmp_path / "train", "ant bee cat", count=4)
    make_images(tmp_path / "val", "ant cat", count=2)  # no bee: labels must not shift
    splits = open_data(Data("imagefolder", root=str(tmp_path)))
    assert splits.classes == ("ant", "bee", "cat")
    assert sorted(Counter(splits.val.labels.tolist()).items()) == [(0, 2), (2, 2)]
    assert splits.image_size == 32  # the images' short side, 36, rounded down
    assert splits.train[0].shape == (3, 40, 36)


def test_folder_with_test_in_place_of_val(tmp_path: Path, make_images: Maker) -> None:
    make_images(tmp_path / "train")
    make_images(tmp_path / "test", count=3)
    assert len(open_data(Data("imagefolder", root=str(tmp_path))).val_indices) == 6


def test_a_single_tree_is_split(tmp_path: Path, make_images: Maker) -> None:
    make_images(tmp_path, count=10)
    splits = open_data(Data("imagefolder", root=str(tmp_path)))
    assert (len(splits.train_indices), len(splits.val_indices)) == (16, 4)
    assert not set(splits.train_indices) & set(splits.val_indices)
    assert Counter(splits.val.labels[list(splits.val_indices)].tolist()) == {0: 2, 1: 2}


def test_hidden_folders_and_stray_files_are_no_classes(tmp_path: Path, make_images: Maker) -> None:
    make_images(tmp_path, count=10)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "cat" / "notes.txt").write_text("hello")
    splits = open_data(Data("imagefolder", root=str(tmp_path)))
    assert splits.classes == ("cat", "dog")
    assert len(splits.train.labels) == 20


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_images_of_any_mode_become_rgb(tmp_path: Path, make_images: Maker, mode: str) -> None:
    make_images(tmp_path, count=5)
    file = tmp_path / "cat" / ("0.jpg" if mode == "CMYK" else "0.png")
    Image.new(mode, (36, 40)).save(file)
    images = open_data(Data("imagefolder", root=str(tmp_path))).train
    assert images[0].shape == (3, 40, 36)
    assert images[0].dtype == torch.uint8


def no_folder(root: Path, make: Maker) -> None:
    pass


def empty_folder(root: Path, make: Maker) -> None:
    root.mkdir()


def no_val(root: Path, make: Maker) -> None:
    make(root / "train")


def foreign_class(root: Path, make: Maker) -> None:
    make(root / "train")
    make(root / "val", "cat dog fox")


def empty_class(root: Path, make: Maker) -> None:
    make(root / "train")
    shutil.rmtree(root / "train" / "dog")
    (root / "train" / "dog").mkdir()
    make(root / "val")


def one_image(root: Path, make: Maker) -> None:
    make(root, count=1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (no_folder, "no folder"),
        (empty_folder, "has no class folders"),
        (no_val, "has train/ but neither val/ nor test/"),
        (foreign_class, "classes that .*train lacks: fox"),
        (empty_class, "no images in .*dog"),
        (one_image, "splitting"),
    ],
)
def test_bad_folders_are_named(tmp_path: Path, make_images: Maker, build: Callable, message: str) -> None:
    build(tmp_path / "images", make_images)
    with pytest.raises(ValueError, match=message):
        open_data(Data("imagefolder", root=str(tmp_path / "images")))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 32, 32, 3), dtype=np.uint8)

    def fake(root: str, train: bool, download: bool) -> SimpleNamespace:
        assert (root, download) == ("data", True)
        return SimpleNamespace(data=pixels, targets=[0, 1] * 10, classes=["cat", "dog"])

    monkeypatch.setattr(datasets, name.upper(), fake)
    splits = open_data(Data(name))
    assert np.array_equal(splits.train[3].permute(1, 2, 0), pixels[3])
    assert (splits.classes, splits.image_size, splits.in_channels) == (("cat", "dog"), 32, 3)
    open_data.cache_clear()


def test_cifar_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "CIFAR10", fail)
    with pytest.raises(ValueError, match="cifar10 is neither in data/ nor could it be downloaded: no route"):
        open_data(Data("cifar10"))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"name": "mnist"}, "one of 'digits'"),
        ({"name": "imagefolder"}, "needs a root"),
        ({"root": "somewhere"}, "take no root"),
        ({"image_size": 0}, "image_size must be at least 1"),
        ({"limit_train": 0}, "limit_train must be at least 1"),
        ({"holdout": 1.0}, "holdout must be between"),
        ({"std": (0.0,)}, "std must be above 0"),
    ],
)
def test_bad_values(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Data(**bad)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Data("digits", limit_train=5), "limit_train 5: .*number of classes"),
        (Data("digits", limit_train=5000), "limit_train is 5000, but there are 1437"),
        (Data("digits", mean=(0.5, 0.5)), "mean and std take 1 numbers each"),
        (Data("digits", mean=(0.5,) * 3, std=(0.5,) * 3), "mean and std take 1 numbers each"),
    ],
)
def test_what_the_data_do_not_allow(data: Data, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_data(data)


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
