from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.study.steps import check_interval, count, count_steps
from ablations.study.trainer import TrainerOptions
from ablations.study.trial import Plan, Seen, Trial
from ablations.training.trainer import count_batches
from convnext_path import RECIPES
from tests.conftest import DIGITS

RECIPE = replace(RECIPES["digits"]["enhanced"], batch_size=64)
IMAGES = Seen(400, 100, 10, 32, 1)  # 6 batches to train, 2 to validate


@pytest.mark.parametrize(
    ("options", "told", "validated"),
    [
        ({}, "6 steps of 64 images", 100),
        ({"limit_train_batches": 1}, "1 step of 64 images", 100),
        ({"limit_train_batches": 0.5, "limit_val_batches": 1}, "3 steps of 64 images", 64),
        ({"accumulate_grad_batches": 2}, "3 steps of 128 images (2 batches of 64 each)", 100),
        ({"accumulate_grad_batches": 4}, "2 steps of 256 images (4 batches of 64 each, the last step 2)", 100),
        ({"accumulate_grad_batches": 6}, "1 step of 384 images (6 batches of 64 each)", 100),
        ({"limit_train_batches": 1000, "limit_val_batches": 2.0}, "6 steps of 64 images", 100),
    ],
)
def test_an_epochs_steps(options: dict[str, object], told: str, validated: int) -> None:
    steps = count_steps(RECIPE, options, IMAGES)
    assert (str(steps), steps.validated) == (told, validated)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit_train_batches": 0.01}, "limit_train_batches 0.01 leaves no batch: 400 images to train in batches of 64"
         " are 6 batches; give a share of 0.1667 or more, or at least 1 batch"),
        ({"limit_val_batches": 0.49}, "limit_val_batches 0.49 leaves no batch: 100 images to validate in batches of 64 "
         "are 2 batches; give a share of 0.5"),
        ({"accumulate_grad_batches": 64}, "accumulate_grad_batches takes 1 to 6, since an epoch has 6 batches "),
        ({"accumulate_grad_batches": 2, "limit_train_batches": 1}, "accumulate_grad_batches takes 1 to 1, since an "
         "epoch has 1 batch (64 images each), got 2"),
        ({"val_check_interval": 1000}, "val_check_interval takes at most 6, since an epoch has 6 batches, got 1000"),
        ({"val_check_interval": 7.0}, "val_check_interval takes at most 6"),
    ],
)  # fmt: skip
def test_what_leaves_nothing_to_do_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match="--trainer") as refused:
        check_interval(options, count_steps(RECIPE, options, IMAGES))
    assert str(refused.value).startswith(f"--trainer.{message}")


def test_things_are_counted_in_english() -> None:
    nouns = ("step", "epoch", "batch", "rung", "image")
    assert [count(1, noun) for noun in nouns] == ["1 step", "1 epoch", "1 batch", "1 rung", "1 image"]
    assert [count(0, noun) for noun in nouns] == ["0 steps", "0 epochs", "0 batches", "0 rungs", "0 images"]


@pytest.mark.parametrize("size", [1, 3, 22, 125, 999, 5004])
def test_the_share_that_is_named_leaves_a_batch(size: int) -> None:
    images = replace(IMAGES, train=64 * size)
    with pytest.raises(ValueError, match="give a share of ") as refused:
        count_steps(RECIPE, {"limit_train_batches": 1e-9}, images)
    share = float(str(refused.value).partition("give a share of ")[2].split()[0])
    assert count_steps(RECIPE, {"limit_train_batches": share}, images).batches >= 1


LIMITS = st.one_of(st.none(), st.integers(1, 30), st.floats(0.001, 1.0), st.sampled_from([1.0, 2.0, 9.0]))


@given(
    images=st.tuples(st.integers(8, 300), st.integers(1, 100)),
    batch_size=st.integers(2, 70),
    limits=st.tuples(LIMITS, LIMITS, LIMITS),
    grouped=st.integers(1, 12),
)
def test_batches_and_steps_are_those_that_lightning_counts(
    plan: Plan, images: tuple[int, int], batch_size: int, limits: tuple[Any, Any, Any], grouped: int
) -> None:
    """Or both refuse; Lightning takes groups larger than an epoch, which would scale the learning rate beyond it."""
    names = ("limit_train_batches", "limit_val_batches", "val_check_interval")
    given = {name: limit for name, limit in zip(names, limits, strict=True) if limit is not None}
    options = TrainerOptions(**given, accumulate_grad_batches=grouped).chosen()
    trial = plan.trials()[0]
    recipe = replace(trial.recipe, batch_size=batch_size)
    seen = Seen(*images, 10, 32, 1)
    if batch_size > images[0]:
        return
    trial = replace(trial, recipe=recipe, trainer=tuple(options.items()))
    try:
        steps = count_steps(recipe, options, seen)
        check_interval(options, steps)
    except ValueError as refused:
        if "accumulate" not in str(refused):
            with pytest.raises(Exception, match="batch"):
                count_batches(trial, *images)
        return
    batches, stepped, validations = count_batches(trial, *images)
    assert (batches, stepped) == (steps.batches, steps.steps)
    assert min(validations * batch_size, images[1]) == steps.validated


def test_the_trials_of_tests_have_steps(trial: Trial) -> None:
    assert trial.data == DIGITS
    assert str(count_steps(trial.recipe, {}, Seen(100, 360, 10, 32, 1))) == "2 steps of 50 images"
