import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convnext_path import Data
from convnext_path.data import cifar
from convnext_path.data.datasets import open_data

Maker = Callable[..., Path]


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


def one_class(root: Path, make: Maker) -> None:
    make(root, "cat", count=9)


def other_names_of_splits(root: Path, make: Maker) -> None:
    make(root / "training")
    make(root / "validation")


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
        (one_image, "splitting .*classes of one image: cat, dog$"),
        (one_class, "has one class, cat; a classifier needs two"),
        (other_names_of_splits, "has training, validation where class folders are expected"),
    ],
)
def test_bad_folders_are_named(tmp_path: Path, make_images: Maker, build: Callable, message: str) -> None:
    build(tmp_path / "images", make_images)
    with pytest.raises(ValueError, match=message):
        open_data(Data("imagefolder", root=str(tmp_path / "images")))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(name: str, tmp_path: Path, make_cifar: Maker) -> None:
    make_cifar(tmp_path, name)
    splits = open_data(Data(name, root=str(tmp_path)))
    assert (len(splits.train_indices), len(splits.val_indices)) == (20 if name == "cifar10" else 4, 4)
    assert (splits.num_classes, splits.image_size, splits.in_channels) == (10, 32, 3)
    assert splits.train[3].shape == (3, 32, 32)


def test_cifar_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(cifar, "download_url", fail)
    with pytest.raises(ValueError, match="cifar10 is not in .* and could not be downloaded: no route"):
        open_data(Data("cifar10", root=str(tmp_path)))


def test_the_digest_is_of_the_images_whatever_is_asked_of_them(tmp_path: Path, make_cifar: Maker) -> None:
    digits = open_data(Data("digits")).digest
    assert open_data(Data("digits", limit_train=100, holdout=0.1)).digest == digits
    folder = make_cifar(tmp_path, "cifar100")
    before = open_data(Data("cifar100", root=str(tmp_path))).digest
    shutil.copy(folder / "train", folder / "test")
    open_data.cache_clear()
    assert len({digits, before, open_data(Data("cifar100", root=str(tmp_path))).digest}) == 3


def test_classes_without_validation_images_are_noted(tmp_path: Path, make_images: Maker) -> None:
    make_images(tmp_path / "train", "ant bee eel", count=10)
    make_images(tmp_path / "val", "bee", count=2)
    assert open_data(Data("imagefolder", root=str(tmp_path))).notes == ("no validation images of: ant, eel",)
    assert open_data(Data("imagefolder", root=str(tmp_path), holdout=0.2)).notes == ()


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
        (Data("digits", limit_train=5), "limit_train 5: each of 10 classes needs an image"),
        (Data("digits", limit_train=5000), "limit_train is 5000, but there are 1437"),
        (Data("digits", mean=(0.5, 0.5)), "mean and std take 1 numbers each"),
        (Data("digits", mean=(0.5,) * 3, std=(0.5,) * 3), "mean and std take 1 numbers each"),
    ],
)
def test_what_the_data_do_not_allow(data: Data, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_data(data)
