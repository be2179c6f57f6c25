import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ablations.study.checkpoints import epochs_done
from ablations.study.trial import Epoch, Trial
from ablations.training import checkpoint
from ablations.training.costs import trial_cost
from ablations.training.curve import DivergenceError
from ablations.training.run import run_trial
from ablations.training.trainer import make_trainer
from convnext_path import CONVNEXT, Flags, PathModule, PathNet


def test_a_trial_gives_a_result(trial: Trial) -> None:
    heard: list[Epoch] = []
    result = run_trial(replace(trial, recipe=trial.recipe.with_epochs(2)), report=heard.append)
    assert list(result.curve) == heard
    assert [epoch.epoch for epoch in heard] == [1, 2]
    assert result.top1 == result.curve[-1].top1
    assert 0 <= result.top1 <= result.top5 <= 100
    assert result.cost == trial_cost(trial)
    assert min(result.seconds, result.images_per_second, result.peak_memory) > 0
    origin = dict(result.origin.facts)
    assert origin["torch"] in torch.__version__


def test_the_same_trial_gives_the_same_result_whatever_ran_before(trial: Trial) -> None:
    first = run_trial(trial)
    run_trial(replace(trial, seed=9))
    torch.manual_seed(123)
    for workers in (0, 1, 2):
        assert run_trial(trial, loader_workers=workers).outcome == first.outcome
    assert run_trial(replace(trial, seed=9)).curve != first.curve


def test_the_network_is_compiled_where_that_is_asked_for(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda net: compiled.append(net))
    run_trial(trial)
    assert not compiled
    result = run_trial(replace(trial, compile=True))
    assert [type(net) for net in compiled] == [PathNet]
    assert result.trial.id != trial.id


def test_the_last_epoch_is_validated_whatever_the_interval(trial: Trial) -> None:
    recipe = trial.recipe.with_epochs(3)
    every = run_trial(replace(trial, recipe=recipe))
    second = run_trial(replace(trial, recipe=recipe, trainer=(("check_val_every_n_epoch", 2),)))
    assert [epoch.top1 is None for epoch in second.curve] == [True, False, False]
    assert second.top1 == every.top1


@pytest.mark.parametrize(("flags", "workers"), [(Flags(), 0), (CONVNEXT, 2)])
@pytest.mark.parametrize(
    "changes",
    [{"ema": None, "mixup": 0.0, "cutmix": 0.0, "drop_path": 0.0}, {"ema": 0.9, "mixup": 0.8, "drop_path": 0.3}],
)
def test_resumed_from_every_epoch_it_is_the_same_to_the_bit(
    tmp_path: Path, trial: Trial, flags: Flags, workers: int, changes: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "KEPT", 100)
    trial = replace(trial, flags=flags, recipe=replace(trial.recipe.with_epochs(4), **changes))
    whole = run_trial(trial, folder=tmp_path)
    files = sorted(tmp_path.iterdir())
    assert [epochs_done(file) for file in files] == [1, 2, 3]
    for file in files:
        heard: list[Epoch] = []
        resumed = run_trial(trial, workers, report=heard.append, checkpoint=file)
        assert resumed.outcome == whole.outcome
        assert [epoch.epoch for epoch in heard] == list(range(epochs_done(file) + 1, 5))


@pytest.mark.parametrize("workers", [0, 2])
def test_each_image_is_seen_once_an_epoch_after_a_resume_too(
    tmp_path: Path, trial: Trial, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    train = PathModule.training_step

    def watch(module: PathModule, batch: Any, batch_idx: int) -> torch.Tensor:
        seen.extend(image.numpy().tobytes() for image in batch[0])
        return train(module, batch, batch_idx)

    monkeypatch.setattr(PathModule, "training_step", watch)
    plain = replace(
        trial.recipe.with_epochs(3), crop_area=1.0, flip=0.0, randaugment=0.0, color_jitter=0.0, erasing=0.0
    )
    trial = replace(trial, recipe=plain)
    whole = run_trial(trial, workers, folder=tmp_path)
    epochs = [seen[i : i + 100] for i in (0, 100, 200)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert len(set(epochs[0])) == 100
    first = min(tmp_path.iterdir())
    before = seen[100 * epochs_done(first) :]
    seen.clear()
    assert run_trial(trial, workers, checkpoint=first).outcome == whole.outcome
    assert seen == before


@pytest.mark.parametrize("step", [1, 2])
def test_a_loss_that_is_no_number_ends_the_trial_at_its_step(
    trial: Trial, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, steps = PathModule.training_step, []

    def spoil(module: PathModule, batch: Any, batch_idx: int) -> torch.Tensor:
        steps.append(batch_idx)
        return train(module, batch, batch_idx) * (torch.inf if len(steps) == step else 1)

    monkeypatch.setattr(PathModule, "training_step", spoil)
    with pytest.raises(DivergenceError, match=f"training loss inf at step {step} of epoch 1"):
        run_trial(trial)
    assert len(steps) == step


def test_a_learning_rate_beyond_reason_diverges(trial: Trial) -> None:
    with pytest.raises(DivergenceError, match="training loss nan at step 2 of epoch 1"):
        run_trial(replace(trial, recipe=replace(trial.recipe, lr=1e30, warmup_epochs=0.0)))


def test_lightnings_variables_are_no_options(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_LIMIT_TRAIN_BATCHES", "1")
    monkeypatch.setenv("PL_TRAINER_GRADIENT_CLIP_VAL", "0.01")
    trainer = make_trainer(trial)
    assert (trainer.limit_train_batches, trainer.gradient_clip_val) == (1.0, None)
    assert os.environ["PL_TRAINER_LIMIT_TRAIN_BATCHES"] == "1"
