"""What images, batches and processes a plan cannot have."""

import os
from collections.abc import Iterable
from pathlib import Path

from ablations.study.trial import Plan, Trial
from convnext_path.data.selection import Data


def check_sides(plan: Plan, image_size: int) -> None:
    """Refuse images that are too small for a rung."""
    for rung in plan.rungs:
        least = rung.flags.min_image_size
        if image_size < least:
            raise ValueError(f"image side {image_size} is too small for rung {rung.name}, which needs {least}")


def check_parts(trials: Iterable[Trial], processes: int, validated: int) -> None:
    """Refuse batches that processes could not share. Each has a part as large, of two images at least (BatchNorm)."""
    if validated < processes:
        raise ValueError(f"{validated} images to validate cannot be shared by {processes} processes")
    for trial in trials:
        batch = trial.recipe.batch_size
        if processes > 1 and (batch % processes or batch < 2 * processes):
            raise ValueError(
                f"a batch of {batch} cannot be shared by {processes} processes (--trainer.devices x .num_nodes); "
                f"--batch-size takes {2 * processes} or another multiple of {processes}"
            )


def check_places(data: Data, folder: str | Path, option: str = "--study") -> None:
    """Refuse a folder of ours among the images, and images inside it: what is written must not become input.

    Args:
        data: says where images lie, or where downloads go.
        folder: what is to be written.
        option: that names it.
    """
    if data.root is None or "://" in data.root or "://" in str(folder):
        return
    root, ours = (Path(os.path.realpath(os.path.expanduser(place))) for place in (data.root, folder))
    if root.is_relative_to(ours):
        raise ValueError(f"the images in {data.root} lie in {folder}, where results would go; {option} takes another")
    if data.is_tree and ours.is_relative_to(root):
        raise ValueError(f"{folder} lies among the images in {data.root}; {option} takes a folder elsewhere")
