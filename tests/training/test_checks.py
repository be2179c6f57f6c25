from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.study.trainer import TrainerOptions
from ablations.study.trial import Plan
from ablations.training.checks import check_plan, check_precision
from ablations.training.run import run_trial
from convnext_path import RECIPES, Recipe

ON_CPU = ("accelerator", "cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit_train_batches": 0.01}, "--trainer.limit_train_batches 0.01 leaves no batch: 100 images"),
        ({"limit_val_batches": 0.01}, "--trainer.limit_val_batches 0.01 leaves no batch: 360 images"),
        ({"limit_train_batches": 1.5}, "limit_train_batches must be a share up to 1.0 or a whole number of batches"),
        ({"limit_train_batches": float("nan")}, "--trainer.limit_train_batches must be above 0 and finite, got nan"),
        ({"limit_val_batches": float("inf")}, "--trainer.limit_val_batches must be above 0 and finite, got inf"),
        ({"limit_train_batches": -1}, "--trainer.limit_train_batches must be above 0 and finite, got -1"),
        ({"accumulate_grad_batches": 64}, "--trainer.accumulate_grad_batches takes 1 to 2, since an epoch has 2 batch"),
        ({"val_check_interval": 1000}, "--trainer.val_check_interval takes at most 2, since an epoch has 2 batches"),
        ({"val_check_interval": "00:00:00:00"}, "--trainer.val_check_interval takes a time above 0 as DD:HH:MM:SS"),
        ({"val_check_interval": "-1:00:00:00"}, "--trainer.val_check_interval takes a time above 0 as DD:HH:MM:SS"),
        ({"val_check_interval": "soon"}, "takes a time above 0 as DD:HH:MM:SS, got 'soon'"),
        ({"check_val_every_n_epoch": 0}, "--trainer.check_val_every_n_epoch must be between 1 and 1000000000, got 0"),
        ({"gradient_clip_val": float("nan")}, "--trainer.gradient_clip_val must be above 0 and finite, got nan"),
        ({"gradient_clip_algorithm": "max"}, "unknown --trainer.gradient_clip_algorithm 'max'; allowed: norm, value"),
        (
            {"precision": "16-mixed"},
            "--trainer.precision 16-mixed does not work on cpu, where Lightning trains in bf16-",
        ),
        ({"precision": 16}, "--trainer.precision 16 does not work on cpu, where Lightning trains in bf16-mixed"),
        ({"precision": "transformer-engine"}, "--trainer.precision transformer-engine: .*transformer_engine"),
        ({"num_nodes": 0}, "--trainer.num_nodes must be between 1 and 1000000000, got 0"),
        ({"num_nodes": -1}, "--trainer.num_nodes must be between 1 and 1000000000, got -1"),
        ({"devices": 0}, "--trainer.devices 0: `Trainer.devices=0.` value is not a valid input using cpu accelerator"),
        ({"devices": -2}, "--trainer.devices must be between -1 and 1000000000, got -2"),
        ({"devices": "a"}, "--trainer.devices a: "),
        ({"devices": 10**6}, "cannot be shared by 1000000 processes"),
        (
            {"accelerator": "abacus"},
            "--trainer.accelerator abacus: You selected an invalid accelerator name: `accelerator='abacus'`",
        ),
    ],
    ids=str,
)
def test_what_no_trial_could_be_trained_with_is_refused(plan: Plan, options: dict[str, Any], message: str) -> None:
    trainer = tuple({"accelerator": "cpu", **options}.items())
    with pytest.raises(ValueError, match=message) as refused:
        check_plan(replace(plan, trainer=trainer))
    assert "\n" not in str(refused.value)


def test_gradients_that_are_scaled_inside_a_step_are_not_clipped() -> None:
    """As on a GPU: there Lightning refuses it at the first step of every trial."""
    plugin = SimpleNamespace(scaler=object())
    device = SimpleNamespace(root_device=torch.device("cuda"))
    trainer: Any = SimpleNamespace(precision="16-mixed", precision_plugin=plugin, strategy=device)
    check_precision(trainer, {"precision": "16-mixed"})
    with pytest.raises(ValueError, match="--trainer.gradient_clip_val does not work with --trainer.precision 16-mixed"):
        check_precision(trainer, {"precision": "16-mixed", "gradient_clip_val": 1.0})


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "64-true", "bf16-mixed", "32-true"])
def test_a_precision_that_passes_trains(plan: Plan, precision: str) -> None:
    plan = replace(plan, trainer=(ON_CPU, ("limit_train_batches", 1), ("precision", precision)))
    check_plan(plan)
    result = run_trial(plan.trials()[0])
    assert result.seen is not None
    assert (result.seen.train, result.seen.val, result.seen.classes) == (100, 360, 10)
    assert len(result.curve) == 1


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "limit_train_batches": st.one_of(st.integers(1, 3), st.floats(0.1, 1)),
        "limit_val_batches": st.one_of(st.integers(1, 3), st.floats(0.01, 1)),
        "val_check_interval": st.one_of(st.integers(1, 3), st.floats(0.1, 1), st.just("00:00:00:01")),
        "check_val_every_n_epoch": st.integers(1, 9),
        "num_sanity_val_steps": st.integers(-1, 2),
        "log_every_n_steps": st.integers(0, 2),
        "accumulate_grad_batches": st.integers(1, 3),
        "gradient_clip_val": st.floats(1e-6, 10),
        "gradient_clip_algorithm": st.sampled_from(["norm", "value"]),
        "inference_mode": st.booleans(),
        "detect_anomaly": st.booleans(),
        "strategy": st.just("auto"),
        "sync_batchnorm": st.booleans(),
    },
)


@settings(max_examples=6, deadline=None)
@given(options=OPTIONS)
def test_what_passes_takes_a_step_and_is_validated(plan: Plan, options: dict[str, Any]) -> None:
    try:
        trainer = TrainerOptions(accelerator="cpu", **options).chosen()
        plan = replace(plan, trainer=tuple(sorted(trainer.items())))
        check_plan(plan)
    except ValueError:
        return  # in words that other tests look at
    result = run_trial(plan.trials()[0])
    assert result.fingerprint is not None
    assert result.fingerprint.losses
    assert result.curve[-1].top1 == result.top1


NUMBERS = [float("nan"), float("inf"), -1.0, 1e400, -float("inf")]
NUMERIC = [f for f in vars(RECIPES["digits"]["enhanced"]) if f not in ("optimizer", "schedule", "init", "decay_all")]


@pytest.mark.parametrize("value", NUMBERS, ids=str)
@pytest.mark.parametrize("name", NUMERIC)
def test_no_number_of_a_recipe_is_negative_or_infinite(name: str, value: float) -> None:
    kind = int if name in ("epochs", "batch_size", "base_batch_size") else float
    if kind is int and value != -1.0:
        return
    with pytest.raises(ValueError, match=name):
        replace(RECIPES["digits"]["enhanced"], **{name: kind(value)})


@pytest.mark.parametrize("changes", [{"lr": 1e308}, {"step_epochs": 1e-320, "schedule": "step"}], ids=str)
def test_numbers_that_together_give_no_learning_rate(changes: dict[str, Any]) -> None:
    recipe: Recipe = replace(RECIPES["imagenet"]["enhanced"], base_batch_size=1)
    with pytest.raises(ValueError, match="gives no finite learning rate over 300 epochs"):
        replace(recipe, **{"warmup_epochs": 0.0, **changes})
