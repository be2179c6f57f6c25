"""Images split in two parts, class by class, the same each time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convnext_path.words import shorten

Ints = np.ndarray[Any, np.dtype[np.int64]]


def split_off(
    indices: Sequence[int], labels: Ints, classes: Sequence[str], size: int | float, what: str, whole: bool = True
) -> tuple[list[int], list[int]]:
    """A stratified split into (rest, part of ``size``), the same each time.

    It is scikit-learn's, where that gives each class an image on either side; else each class is split by itself.

    Args:
        indices: of the images to split.
        labels: of all images.
        classes: their names.
        size: of the part, as a number of images or as a share.
        what: is asked for, in an error.
        whole: the rest is used too, so that it needs an image of each class.

    Raises:
        ValueError: there are too few images, naming the classes.
    """
    places = np.asarray(indices)
    found, counts = np.unique(labels[places], return_counts=True)
    if few := [classes[label] for label in found[counts < 1 + whole]]:
        names = shorten(few, 20)
        raise ValueError(f"{what}: each class needs two images, one in either part; classes of one image: {names}")
    parts = stratify(places, labels[places], size)
    if parts is None or not all(len(np.unique(labels[part])) == len(found) for part in parts[not whole :]):
        parts = split_classes(places, labels[places], share_out(counts, size, whole, what))
    rest, part = parts
    return sorted(rest.tolist()), sorted(part.tolist())


def stratify(places: Ints, labels: Ints, size: int | float) -> tuple[Ints, Ints] | None:
    """scikit-learn's split into (rest, part); None where it has none."""
    from sklearn.model_selection import train_test_split

    try:
        rest, part = train_test_split(places, test_size=size, stratify=labels, random_state=0)
    except ValueError:
        return None
    return rest, part


def share_out(counts: Ints, size: int | float, whole: bool, what: str) -> Ints:
    """How many images of each class make up a part of ``size``: in proportion, and one at least.

    Of each class of a ``whole`` one image stays. A share is made larger or smaller where classes need it.

    Raises:
        ValueError: a number of images that is too low.
    """
    most = counts - whole
    total = size if isinstance(size, int) else int(np.clip(np.ceil(size * counts.sum()), len(counts), most.sum()))
    if total < len(counts):
        raise ValueError(f"{what}: each of {len(counts)} classes needs an image")
    ideal = counts * total / counts.sum()
    given = np.clip(np.floor(ideal).astype(np.int64), 1, most)
    while (lacking := total - given.sum()) != 0:
        step = np.sign(lacking)
        free = given < most if step > 0 else given > 1
        given[np.argmax(np.where(free, (ideal - given) * step, -np.inf))] += step
    return given  # type: ignore[no-any-return]


def split_classes(places: Ints, labels: Ints, given: Ints) -> tuple[Ints, Ints]:
    """So many of each class at random, as (rest, part)."""
    draw = np.random.default_rng(0)
    mixed = [draw.permutation(places[labels == label]) for label in np.unique(labels)]
    pairs = [np.split(own, [len(own) - count]) for own, count in zip(mixed, given, strict=True)]
    rest, part = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return rest, part
