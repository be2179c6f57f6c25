"""The images of a data set, opened: named ones and folders, their splits, classes, sizes."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from convnext_path.data.cifar import read_cifar
from convnext_path.data.folders import FileImages, open_folders
from convnext_path.data.selection import Data
from convnext_path.data.splitting import split_off
from convnext_path.data.stream import StreamImages, is_stream, read_stream
from convnext_path.words import shorten, show_name

#: Means and standard deviations of the channels.
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR_STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


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


@dataclass(frozen=True)
class Splits:
    """A data set, opened: where its images are, which of them train and which validate, what they are like.

    ``digest`` is a sha256 of all images and labels that were opened, whatever of them ``Data`` then asks for.
    ``notes`` say in a line each what is unusual.
    """

    train: Images
    val: Images
    train_indices: Sequence[int]
    val_indices: Sequence[int]
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def in_channels(self) -> int:
        return len(self.mean)


def hash_images(*sources: MemoryImages) -> str:
    """A sha256 of pixels, their layout, and labels."""
    digest = hashlib.sha256()
    for images in sources:
        digest.update(str(tuple(images.pixels.shape)).encode())
        digest.update(images.pixels.numpy().tobytes())
        digest.update(images.labels.astype("<i8").tobytes())
    return digest.hexdigest()


def open_digits(data: Data) -> Splits:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 upsampled to 32 x 32: 1,437 to train, 360 to test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).float().unsqueeze(1) * (255 / 16)  # N, 1, 8, 8
    large = torch.nn.functional.interpolate(small, size=32, mode="bilinear", antialias=False)
    images = MemoryImages(large.round().to(torch.uint8), bunch.target)
    train, test = split_off(range(len(images.labels)), images.labels, "0123456789", 360, "digits")
    return Splits(images, images, train, test, tuple("0123456789"), 32, (0.3053,), (0.3237,), hash_images(images))


def open_cifar(data: Data) -> Splits:
    """CIFAR-10 or CIFAR-100: 50,000 images to train, 10,000 to test, downloaded on first use."""
    root = data.root or "data"
    try:
        *parts, classes = read_cifar(data.name, Path(root).expanduser())
    except (OSError, RuntimeError) as error:
        raise ValueError(show_name(f"{data.name} cannot be looked for in {root}/: {error}")) from None
    train, test = (MemoryImages(torch.from_numpy(pixels), labels) for pixels, labels in parts)
    indices = range(len(train.labels)), range(len(test.labels))
    return Splits(train, test, *indices, classes, 32, *CIFAR_STATISTICS[data.name], hash_images(train, test))


def open_folder(data: Data) -> Splits:
    """``train/`` and ``val/`` (or ``test/``) with class folders, or class folders alone, a fifth of which validates.

    Or the stream that was made of such a folder.
    """
    root = str(data.root)
    if data.check_images == "none" and data.image_size is None and data.name == "imagefolder":
        raise ValueError("check_images none does not read image sizes; it needs an image_size")
    found: Sequence[FileImages] | Sequence[StreamImages]
    if is_stream(root):
        classes, found, notes = read_stream(root)
    else:
        classes, found, notes = open_folders(Path(root).expanduser(), data.skip_bad_images, data.check_images)
    train, val = found[0], found[-1]
    indices: tuple[Sequence[int], Sequence[int]] = range(len(train.labels)), range(len(val.labels))
    if train is val:
        indices = split_off(indices[0], train.labels, classes, 0.2, f"splitting {show_name(root)}")
    size = 224 if data.name == "imagenet" else int(np.clip(train.scan.side // 32 * 32, 32, 224))
    digest = join_digests([images.scan.digest for images in found])
    return Splits(train, val, *indices, classes, size, *IMAGENET_STATISTICS, digest, notes)


def join_digests(digests: Sequence[str]) -> str:
    """One for all; what the first says of how images were checked stays in front."""
    check, colon, _ = digests[0].rpartition(":")
    return check + colon + hashlib.sha256(" ".join(digests).encode()).hexdigest()


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
        raise ValueError(show_name(f"{data.root} has one class, {splits.classes[0]}; a classifier needs two"))
    channels, image_size = splits.in_channels, data.image_size or splits.image_size
    splits = replace(splits, image_size=image_size, mean=data.mean or splits.mean, std=data.std or splits.std)
    if not len(splits.mean) == len(splits.std) == channels:
        raise ValueError(f"mean and std take {channels} numbers each, got {splits.mean} and {splits.std}")
    labels, classes = splits.train.labels, splits.classes
    if data.holdout:
        rest, part = split_off(splits.train_indices, labels, classes, data.holdout, f"holdout {data.holdout}")
        splits = replace(splits, val=splits.train, train_indices=rest, val_indices=part)
    limit, found = data.limit_train, len(splits.train_indices)
    if limit is not None and limit > found:
        raise ValueError(f"limit_train is {limit}, but there are {found} training images")
    if limit is not None and limit < found:
        _, part = split_off(splits.train_indices, labels, classes, limit, f"limit_train {limit}", whole=False)
        splits = replace(splits, train_indices=part)
    return replace(splits, notes=(*splits.notes, *note_missing(splits), *note_shared(splits)))


def note_missing(splits: Splits) -> tuple[str, ...]:
    """A line that names the classes without validation images, if there are any."""
    there = set(splits.val.labels[list(splits.val_indices)].tolist())
    missing = [name for label, name in enumerate(splits.classes) if label not in there]
    return (f"no validation images of: {shorten(missing, 20)}",) if missing else ()


def note_shared(splits: Splits) -> tuple[str, ...]:
    """A line that counts the images which train and validate too, byte for byte, where contents are known."""
    train, val = (getattr(images, "contents", []) for images in (splits.train, splits.val))
    if not train or not val:
        return ()
    trained = {train[index] for index in splits.train_indices}
    shared = sum(val[index] in trained for index in splits.val_indices)
    return (f"validation images that are training images too: {shared} of {len(splits.val_indices)}",) if shared else ()
