"""What images, batches and processes a plan cannot have."""

from collections.abc import Iterable

from ablations.study.trial import Plan, Trial


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
