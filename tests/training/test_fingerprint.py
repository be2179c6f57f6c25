from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from ablations.study.trial import Trial
from ablations.training import run
from ablations.training.fingerprint import STEPS, FirstSteps
from ablations.training.run import run_trial, take_first_steps

#: Two steps an epoch, so that the first steps take three.
EPOCHS = 4


@pytest.fixture
def long(trial: Trial) -> Trial:
    return replace(trial, recipe=trial.recipe.with_epochs(EPOCHS))


def test_a_record_holds_what_its_first_steps_gave(long: Trial) -> None:
    result = run_trial(long)
    steps = result.fingerprint
    assert steps is not None
    assert len(steps.losses) == STEPS
    assert steps.rates == tuple(epoch.lr for epoch in result.curve)
    assert sum(steps.losses[:2]) / 2 == pytest.approx(result.curve[0].train_loss)
    assert steps.validation[0] != steps.validation[1]
    assert steps.weights not in ("", result.weights)
    assert steps.optimizer.startswith("AdamW: betas (0.9, 0.999), eps 1e-08, initial_lr 0.0015625, weight_decay 0.05, ")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"recipe": {"ema": 0.9}},
        {"recipe": {"optimizer": "sgd", "schedule": "step"}},
        {"trainer": (("accumulate_grad_batches", 2),)},
    ],
    ids=str,
)
def test_the_first_steps_alone_give_the_same(long: Trial, changes: dict) -> None:
    trial = replace(long, recipe=replace(long.recipe, **changes.get("recipe", {})), trainer=changes.get("trainer", ()))
    result = run_trial(trial)
    steps, origin = take_first_steps(trial)
    assert steps == result.fingerprint
    assert origin == result.origin


def test_a_training_shorter_than_the_first_steps_has_them_all_the_same(trial: Trial) -> None:
    result = run_trial(trial)
    assert result.fingerprint is not None
    assert len(result.fingerprint.losses) == 2 < STEPS
    assert result.fingerprint.weights == result.weights
    assert take_first_steps(trial)[0] == result.fingerprint


def test_a_resumed_training_has_the_same(tmp_path: Path, long: Trial) -> None:
    whole = run_trial(long, folder=tmp_path)
    checkpoints = sorted(tmp_path.glob("*.ckpt"))
    assert len(checkpoints) == 2
    for checkpoint in checkpoints:
        assert run_trial(long, checkpoint=checkpoint).fingerprint == whole.fingerprint


def test_it_leaves_the_training_as_it_is(monkeypatch: pytest.MonkeyPatch, long: Trial) -> None:
    with_it = run_trial(long)
    silent = type("Silent", (Callback,), {"fingerprint": with_it.fingerprint})
    monkeypatch.setattr(run, "FirstSteps", silent)
    assert run_trial(long).outcome == with_it.outcome


def test_average_weights_are_part_of_it(long: Trial) -> None:
    slow, fast = (take_first_steps(replace(long, recipe=replace(long.recipe, ema=decay)))[0] for decay in (0.99, 0.5))
    assert slow.weights != fast.weights
    assert slow.losses == fast.losses


def test_what_a_checkpoint_keeps_is_plain() -> None:
    state = FirstSteps().state_dict()
    assert set(map(type, state.values())) == {list, str}
    torch.save(state, "/dev/null")
