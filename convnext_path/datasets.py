"""Which images: named data sets and folders, their splits, classes, sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets
from torchvision.datasets.folder import IMG_EXTENSIONS, default_loader, make_dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from convnext_path.frozen import Frozen, at_least, within

#: Means and standard deviations of the channels.
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR_STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}

#: Names of splits, not of classes.
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


@dataclass(frozen=True)
class Data(Frozen):
    """Which images, and how they are cut to size.

    Args:
        name: the data set.
        root: folder of the images (imagefolder, imagenet), or where to keep a download (CIFAR).
        image_size: side in pixels; None for the data set's own.
        limit_train: keep so many training images, a seeded stratified subset.
        holdout: validate on this share of the training images, seeded and stratified, in place of the test
            split: for choosing settings without looking at the test split.
        mean, std: of the channels, for normalization; None for the data set's own.

    Raises:
        ValueError: a number out of range, or a folder missing or not asked for.
    """

    name: Literal["digits", "cifar10", "cifar100", "imagefolder", "imagenet"] = "digits"
    root: str | None = None
    image_size: int | None = None
    limit_train: int | None = None
    holdout: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("image_size", 1 if self.image_size is None else self.image_size, 1)
        at_least("limit_train", 1 if self.limit_train is None else self.limit_train, 1)
        within("holdout", self.holdout, 0, 0.9)
        if self.name in ("imagefolder", "imagenet") and self.root is None:
            raise ValueError(f"{self.name} needs a root: a folder with train/ and val/ (or test/), or class folders")
        if self.name == "digits" and self.root is not None:
            raise ValueError("digits come with scikit-learn and take no root")
        if self.std is not None and min(self.std, default=0) <= 0:
            raise ValueError(f"std must be above 0, got {self.std}")

    @property
    def title(self) -> str:
        """What people call it: the data set's name, or a folder's."""
        return Path(str(self.root)).name if self.name == "imagefolder" else self.name


class Images(Protocol):
    """Images and their labels: ``images[i]`` is a uint8 tensor of (C, H, W)."""

    labels: np.ndarray[Any, np.dtype[np.int64]]

    def __getitem__(self, index: int) -> Tensor: ...


class MemoryImages:
    """Images of one size, held as one uint8 array of (N, C, H, W)."""

    def __init__(self, pixels: Tensor, labels: Any) -> None:
        self.pixels, self.labels = pixels, np.asarray(labels, dtype=np.int64)

    def __getitem__(self, index: int) -> Tensor:
        return self.pixels[index]


class FileImages:
    """Image files, decoded to RGB when asked for."""

    def __init__(self, samples: Sequence[tuple[str, int]]) -> None:
        self.paths = [path for path, _ in samples]
        self.labels = np.asarray([label for _, label in samples], dtype=np.int64)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = pil_to_tensor(default_loader(self.paths[index]))
        return image


@dataclass(frozen=True)
class Splits:
    """A data set, opened: where its images are, which of them train and which validate, what they are like."""

    train: Images
    val: Images
    train_indices: Sequence[int]
    val_indices: Sequence[int]
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str = ""

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def in_channels(self) -> int:
        return len(self.mean)


def split_off(indices: Sequence[int], labels: Any, size: int | float, what: str) -> tuple[list[int], list[int]]:
    """A stratified split into (rest, part of ``size``), the same each time.

    Raises:
        ValueError: the labels do not allow it, naming ``what`` was asked for.
    """
    from sklearn.model_selection import train_test_split

    try:
        rest, part = train_test_split(
            list(indices), test_size=size, stratify=np.asarray(labels)[list(indices)], random_state=0
        )
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    return sorted(rest), sorted(part)


def open_digits(data: Data) -> Splits:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 upsampled to 32 x 32: 1,437 to train, 360 to test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).float().unsqueeze(1) * (255 / 16)  # N, 1, 8, 8
    large = torch.nn.functional.interpolate(small, size=32, mode="bilinear", antialias=False)
    images = MemoryImages(large.round().to(torch.uint8), bunch.target)
    train, test = split_off(range(len(images.labels)), images.labels, 360, "digits")
    return Splits(images, images, train, test, tuple("0123456789"), 32, (0.3053,), (0.3237,))


def open_cifar(data: Data) -> Splits:
    """CIFAR-10 or CIFAR-100: 50,000 images to train, 10,000 to test, downloaded on first use."""
    dataset = datasets.CIFAR10 if data.name == "cifar10" else datasets.CIFAR100
    root = data.root or "data"
    try:
        train, test = (dataset(root, train=is_train, download=True) for is_train in (True, False))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{data.name} is neither in {root}/ nor could it be downloaded: {error}") from None
    train_images, test_images = (
        MemoryImages(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), part.targets)
        for part in (train, test)
    )
    indices = range(len(train_images.labels)), range(len(test_images.labels))
    return Splits(train_images, test_images, *indices, tuple(train.classes), 32, *CIFAR_STATISTICS[data.name])


def open_folder(data: Data) -> Splits:
    """``train/`` and ``val/`` (or ``test/``) with class folders, or class folders alone, a fifth of which validates."""
    root = Path(str(data.root)).expanduser()
    if not root.is_dir():
        raise ValueError(f"no folder {root}")
    if not (root / "train").is_dir():
        classes = find_classes(root)
        images = find_images(root, classes)
        train, val = split_off(range(len(images.labels)), images.labels, 0.2, f"splitting {root}")
        return Splits(images, images, train, val, classes, choose_image_size(data, images), *IMAGENET_STATISTICS)
    val_root = next((root / name for name in ("val", "test") if (root / name).is_dir()), None)
    if val_root is None:
        raise ValueError(f"{root} has train/ but neither val/ nor test/")
    classes = find_classes(root / "train")
    unknown = sorted(set(find_classes(val_root)) - set(classes))
    if unknown:
        raise ValueError(f"{val_root} has classes that {root / 'train'} lacks: {', '.join(unknown)}")
    train_images, val_images = find_images(root / "train", classes), find_images(val_root, classes)
    indices = range(len(train_images.labels)), range(len(val_images.labels))
    size = choose_image_size(data, train_images)
    return Splits(train_images, val_images, *indices, classes, size, *IMAGENET_STATISTICS)


def find_classes(folder: Path) -> tuple[str, ...]:
    """The class folders' names, sorted; hidden ones do not count. A ValueError where there are none."""
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise ValueError(f"{folder} has no class folders")
    if splits := SPLITS.intersection(name.lower() for name in classes):
        allowed = "splits are named train/ and val/ or test/"
        raise ValueError(f"{folder} has {', '.join(sorted(splits))} where classes are looked for; {allowed}")
    return tuple(classes)


def find_images(folder: Path, classes: Sequence[str]) -> FileImages:
    """All images in the class folders; the label is the place in ``classes``. A ValueError where there are none."""
    index = {name: i for i, name in enumerate(classes) if (folder / name).is_dir()}
    samples = make_dataset(str(folder), index, extensions=IMG_EXTENSIONS, allow_empty=True)
    empty = sorted(set(index) - {classes[label] for _, label in samples})
    if empty:
        more = f" and {len(empty) - 3} more" if len(empty) > 3 else ""
        raise ValueError(f"no images in {', '.join(str(folder / name) for name in empty[:3])}{more}")
    return FileImages(samples)


def choose_image_size(data: Data, images: FileImages) -> int:
    """What was asked for; else ImageNet's 224, or the median short side of up to 50 images, in 32s, 32 to 224.

    Raises:
        ValueError: one of them is no image.
    """
    if data.image_size or data.name == "imagenet":
        return data.image_size or 224
    sides = []
    for i in range(0, len(images.paths), max(len(images.paths) // 50, 1)):
        try:
            sides.append(min(images[i].shape[1:]))
        except OSError as error:
            raise ValueError(f"{images.paths[i]} cannot be read: {error}") from None
    return int(np.clip(np.median(sides) // 32 * 32, 32, 224))


OPENERS: dict[str, Callable[[Data], Splits]] = {
    "digits": open_digits,
    "cifar10": open_cifar,
    "cifar100": open_cifar,
    "imagefolder": open_folder,
    "imagenet": open_folder,
}


@cache
def open_data(data: Data) -> Splits:
    """Find the images and settle what ``data`` leaves open.

    Raises:
        ValueError: no images, or not those that were asked for.
    """
    splits = OPENERS[data.name](data)
    if splits.num_classes < 2:
        raise ValueError(f"{data.root} has one class, {splits.classes[0]}; a classifier needs two")
    channels, image_size = splits.in_channels, data.image_size or splits.image_size
    splits = replace(splits, image_size=image_size, mean=data.mean or splits.mean, std=data.std or splits.std)
    if not len(splits.mean) == len(splits.std) == channels:
        raise ValueError(f"mean and std take {channels} numbers each, got {splits.mean} and {splits.std}")
    labels = splits.train.labels
    if data.holdout:
        rest, part = split_off(splits.train_indices, labels, data.holdout, f"holdout {data.holdout}")
        splits = replace(splits, val=splits.train, train_indices=rest, val_indices=part)
    limit, found = data.limit_train, len(splits.train_indices)
    if limit is not None and limit > found:
        raise ValueError(f"limit_train is {limit}, but there are {found} training images")
    if limit is not None and limit < found:
        _, part = split_off(splits.train_indices, labels, limit, f"limit_train {limit}")
        splits = replace(splits, train_indices=part)
    return splits
