"""How many images a training sees, and what they are like."""

from collections.abc import Sequence

from ablations.study.trial import Plan, Result, Seen
from convnext_path.data.datasets import Splits, open_data


def describe_splits(splits: Splits) -> Seen:
    """Of a data set that is open."""
    counts = len(splits.train_indices), len(splits.val_indices)
    return Seen(*counts, splits.num_classes, splits.image_size, splits.in_channels)


def find_seen(plan: Plan, results: Sequence[Result]) -> Seen | None:
    """What the records of a study hold of its images; of digits, which are always there, they need not."""
    kept = [result.seen for result in results if result.seen]
    if kept:
        return kept[0]
    return describe_splits(open_data(plan.data)) if plan.data.name == "digits" else None
