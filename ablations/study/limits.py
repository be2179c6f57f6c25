"""What names, options, images, batches and processes a plan cannot have."""

from collections.abc import Iterable
from dataclasses import fields

from ablations.study.steps import EpochSteps, check_interval, count_steps
from ablations.study.trainer import TrainerOptions
from ablations.study.trial import Plan, Seen, Trial
from convnext_path.frozen import choose

LONGEST = 400  # characters of a name, which stand in charts, tables and logs; a file of weights gives up to 300


def check_terms(plan: Plan) -> None:
    """Refuse options and names that cannot be used. Requests have none; people may, in plans of their own."""
    known = [f.name for f in fields(TrainerOptions)]
    TrainerOptions(**{choose("option of the trainer", name, known): value for name, value in plan.trainer})  # type: ignore[arg-type]
    for rung in plan.rungs:
        for name in (plan.ladder, rung.name, rung.title):
            check_name(name)


def check_name(name: str) -> None:
    """Refuse what files and charts cannot hold."""
    if not (name.isprintable() and name.strip() and len(name) <= LONGEST):
        raise ValueError(f"a name must have 1 to {LONGEST} printable characters, got {name[: LONGEST + 1]!r}")


def check_steps(plan: Plan, images: Seen) -> dict[str, EpochSteps]:
    """What an epoch of each recipe is, by name. Raises a ValueError for options that leave nothing to do."""
    trainer = dict(plan.trainer)
    found = {name: count_steps(recipe, trainer, images) for name, recipe in plan.recipes}
    for steps in found.values():
        check_interval(trainer, steps)
    return found


def check_sides(plan: Plan, image_size: int) -> None:
    """Refuse images that are too small for a rung."""
    for rung in plan.rungs:
        least = rung.flags.min_image_size
        if image_size < least:
            raise ValueError(f"image size {image_size} is too small for rung {rung.name}, which needs {least}")


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
