"""Which images: a data set's name, where it lies, and how it is cut to size."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from convnext_path.files import make_absolute
from convnext_path.frozen import Frozen, at_least, within
from convnext_path.words import refuse_secrets

#: How files of a folder are checked before the first step: each decoded; its header read; none opened.
Check = Literal["full", "headers", "none"]
CHECKS: tuple[Check, ...] = get_args(Check)


@dataclass(frozen=True)
class Data(Frozen):
    """Which images to train and validate on, and at which size.

    Args:
        name: the data set.
        root: folder of the images (imagefolder, imagenet), or where to keep a download (CIFAR).
        image_size: height and width in pixels; None for the data set's own.
        limit_train: train on only this many images: a fixed random subset, stratified by class.
        holdout: validate on this share of the training images instead of the test images. The share is fixed and
            stratified by class. Use it to choose settings without looking at the test images.
        mean, std: mean and standard deviation of each channel, for normalization; None for the data set's own.
        skip_bad_images: leave out image files that cannot be decoded, instead of raising an error.
        check_images: how to check the files of a folder before training. ``full`` decodes every file, ``headers``
            reads only headers, ``none`` opens no file. None means ``full``, or ``headers`` for more than 100,000 files
            or 8 GiB. The check changes no image.

    Raises:
        ValueError: a number out of range, a missing root, or a root that the data set does not take.
    """

    name: Literal["digits", "cifar10", "cifar100", "imagefolder", "imagenet"] = "digits"
    root: str | None = None
    image_size: int | None = None
    limit_train: int | None = None
    holdout: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    skip_bad_images: bool = False
    check_images: Check | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("image_size", 1 if self.image_size is None else self.image_size, 1)
        at_least("limit_train", 1 if self.limit_train is None else self.limit_train, 1)
        within("holdout", self.holdout, 0, 0.9)
        refuse_secrets("root", self.root)
        if self.is_tree and not self.root:
            raise ValueError(f"{self.name} needs a root: a folder with train/ and val/ (or test/), or class folders")
        if self.name == "digits" and self.root is not None:
            raise ValueError("digits come with scikit-learn and take no root")
        if self.std is not None and min(self.std, default=0) <= 0:
            raise ValueError(f"std must be above 0, got {self.std}")

    @property
    def is_tree(self) -> bool:
        """Whether ``root`` is a folder of image files."""
        return self.name in ("imagefolder", "imagenet")

    @property
    def title(self) -> str:
        """The name to show: the data set's, or the folder's."""
        if self.name != "imagefolder":
            return self.name
        root = str(self.root)
        place = root if "://" in root else make_absolute(root)  # "." and ".." have names too
        return Path(place).name or "images"
