from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnext_path import RECIPES

ORIGINAL, ENHANCED = RECIPES["imagenet"]["original"], RECIPES["imagenet"]["enhanced"]


def test_imagenet_presets_are_the_papers() -> None:
    """Table 5 and section 2.1."""
    assert (ORIGINAL.optimizer, ORIGINAL.epochs, ORIGINAL.lr, ORIGINAL.batch_size) == ("sgd", 90, 0.1, 256)
    assert (ORIGINAL.schedule, ORIGINAL.step_epochs, ORIGINAL.weight_decay) == ("step", 30, 1e-4)
    assert (ENHANCED.optimizer, ENHANCED.epochs, ENHANCED.lr, ENHANCED.batch_size) == ("adamw", 300, 4e-3, 4096)
    assert (ENHANCED.schedule, ENHANCED.warmup_epochs, ENHANCED.min_lr) == ("cosine", 20, 1e-6)
    assert (ENHANCED.weight_decay, ENHANCED.label_smoothing, ENHANCED.layer_scale) == (0.05, 0.1, 1e-6)
    assert (ENHANCED.mixup, ENHANCED.cutmix, ENHANCED.erasing, ENHANCED.randaugment) == (0.8, 1.0, 0.25, 9)
    assert [RECIPES["imagenet"][name].drop_path for name in ("enhanced", "enhanced_b")] == [0.1, 0.5]
    assert ENHANCED.ema is None
    assert (ENHANCED.init, ENHANCED.init_std, ENHANCED.crop_ratio) == ("trunc_normal", 0.02, 0.875)


def test_step_schedule() -> None:
    rates = [ORIGINAL.lr_at(epoch) for epoch in (0, 29.9, 30, 59.9, 60, 89.9)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_cosine_schedule() -> None:
    rates = [ENHANCED.lr_at(epoch) for epoch in (0, 10, 20, 160, 300)]
    assert rates == pytest.approx([0, 2e-3, 4e-3, (4e-3 + 1e-6) / 2, 1e-6])


def test_the_learning_rate_scales_with_the_batch() -> None:
    assert replace(ORIGINAL, batch_size=64).peak_lr == pytest.approx(0.025)


@given(st.sampled_from([r for family in RECIPES.values() for r in family.values()]), st.integers(1, 1000))
def test_another_number_of_epochs_keeps_the_schedules_shape(recipe, epochs: int) -> None:
    other = recipe.with_epochs(epochs)
    for share in (0.0, 0.03, 0.2, 0.5, 0.9):
        assert other.lr_at(share * epochs) == pytest.approx(recipe.lr_at(share * recipe.epochs), rel=1e-6)


@given(st.sampled_from([r for family in RECIPES.values() for r in family.values()]), st.floats(0, 2000))
def test_the_learning_rate_stays_within_bounds(recipe, epoch: float) -> None:
    assert 0 <= recipe.lr_at(epoch) <= recipe.peak_lr * (1 + 1e-9)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be above 0 and finite, got 0.0"),
        ({"lr": float("nan")}, "lr must be above 0"),
        ({"mixup": -1.0}, "mixup must be at least 0"),
        ({"erasing": 1.5}, "erasing must be between 0 and 1"),
        ({"optimizer": "adam"}, "one of 'sgd', 'adamw', got 'adam'"),
        ({"crop_area": 0.0}, "crop_area must be above 0"),
        ({"ema": 1.5}, "ema must be between 0 and 1"),
        ({"randaugment": 11.0}, "randaugment must be between 0 and 10"),
    ],
)
def test_bad_values(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ENHANCED, **bad)
