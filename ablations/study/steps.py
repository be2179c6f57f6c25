"""How many batches, optimizer steps and validation images an epoch has, from a recipe and the trainer's options.

As Lightning counts; what would leave it nothing to do is refused here, in a sentence.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablations.study.trial import Seen
from convnext_path.recipe import Recipe

#: Options that leave a share of the batches, or a number of them: to train, to validate.
LIMITS = "limit_train_batches", "limit_val_batches"

#: Options that make fewer steps of an epoch than it has batches of images.
SHORTENING = (LIMITS[0], "accumulate_grad_batches")


@dataclass(frozen=True)
class EpochSteps:
    """An epoch of one recipe. ``batches`` train, ``grouped`` of them to an optimizer step; ``validated``: images."""

    batch_size: int
    batches: int
    grouped: int
    validated: int

    @property
    def steps(self) -> int:
        """Of the optimizer: what is left over at the end of an epoch makes a step of its own."""
        return -(-self.batches // self.grouped)

    def __str__(self) -> str:
        """3 steps of 128 images (2 batches of 64 each, the last step 1)."""
        told = f"{count(self.steps, 'step')} of {self.batch_size * self.grouped} images"
        if self.grouped == 1:
            return told
        rest = self.batches % self.grouped
        return f"{told} ({self.grouped} batches of {self.batch_size} each{f', the last step {rest}' if rest else ''})"


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 step, 2 steps, 2 batches."""
    plural = f"{noun}{'es' if noun.endswith('tch') else 's'}"
    return f"{number} {noun if number == 1 else plural}"


def count_steps(recipe: Recipe, trainer: Mapping[str, object], images: Seen) -> EpochSteps:
    """What an epoch of a recipe is on so many images. Validation takes the recipe's batches, the last one smaller.

    Raises:
        ValueError: a limit that leaves no batch, or gradients of more batches in a step than an epoch has.
    """
    train, validated = (trainer.get(name) for name in LIMITS)
    size, whole, found = recipe.batch_size, images.train // recipe.batch_size, -(-images.val // recipe.batch_size)
    batches = limit(LIMITS[0], train, whole, f"{images.train} images to train in batches of {size}")
    checked = limit(LIMITS[1], validated, found, f"{images.val} images to validate in batches of {size}")
    grouped: Any = trainer.get("accumulate_grad_batches", 1)
    if grouped > batches:
        raise ValueError(
            f"--trainer.accumulate_grad_batches takes 1 to {batches}, since an epoch has {count(batches, 'batch')} "
            f"({size} images each), got {grouped}"
        )
    return EpochSteps(size, batches, grouped, min(checked * size, images.val))


def limit(name: str, asked: Any, batches: int, where: str) -> int:
    """How many of the batches an option leaves: a number of them, or a share. Raises a ValueError for none."""
    if asked is None:
        return batches
    is_share = isinstance(asked, float) and asked <= 1
    left = int(batches * asked) if is_share else min(int(asked), batches)
    if batches and not left:
        raise ValueError(
            f"--trainer.{name} {asked:g} leaves no batch: {where} are {count(batches, 'batch')}; "
            f"give a share of {math.ceil(1e4 / batches) / 1e4:g} or more, or at least 1 batch"
        )
    return left


def check_interval(trainer: Mapping[str, object], steps: EpochSteps) -> None:
    """Refuse an interval between validations that no epoch holds."""
    interval: Any = trainer.get("val_check_interval")
    if isinstance(interval, int | float) and interval > 1 and interval > steps.batches:
        raise ValueError(
            f"--trainer.val_check_interval takes at most {steps.batches}, since an epoch has "
            f"{count(steps.batches, 'batch')}, got {interval:g}; --trainer.check_val_every_n_epoch validates less often"
        )


def lift_limits(trainer: Mapping[str, object]) -> dict[str, object]:
    """Options but for those that make an epoch shorter than its images."""
    return {name: value for name, value in trainer.items() if name not in SHORTENING}
