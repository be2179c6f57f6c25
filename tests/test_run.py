from dataclasses import replace

import pytest
import torch

from ablations.run import DivergenceError, run_trial, trial_cost
from ablations.study import Epoch, Result, Trial


def content(result: Result) -> Result:
    """A result without what the clock and the memory say."""
    return replace(result, seconds=0.0, images_per_second=0.0, peak_memory=0)


def test_a_trial_gives_a_result(trial: Trial) -> None:
    heard: list[Epoch] = []
    result = run_trial(replace(trial, recipe=trial.recipe.with_epochs(2)), report=heard.append)
    assert list(result.curve) == heard
    assert [epoch.epoch for epoch in heard] == [1, 2]
    assert result.top1 == result.curve[-1].top1
    assert 0 <= result.top1 <= result.top5 <= 100
    assert result.cost == trial_cost(trial)
    assert min(result.seconds, result.images_per_second, result.peak_memory) > 0
    environment = dict(result.environment)
    assert environment["torch"] == torch.__version__.split("+")[0] or environment["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()


def test_the_same_trial_gives_the_same_result_whatever_ran_before(trial: Trial) -> None:
    first = run_trial(trial)
    run_trial(replace(trial, seed=9))
    torch.manual_seed(123)
    assert content(run_trial(trial, loader_workers=1)) == content(first)
    assert run_trial(replace(trial, seed=9)).curve != first.curve


def test_the_last_epoch_is_validated_whatever_the_interval(trial: Trial) -> None:
    recipe = trial.recipe.with_epochs(3)
    every = run_trial(replace(trial, recipe=recipe))
    second = run_trial(replace(trial, recipe=recipe, trainer=(("check_val_every_n_epoch", 2),)))
    assert [epoch.top1 is None for epoch in second.curve] == [True, False, False]
    assert second.top1 == every.top1


def test_a_loss_that_is_no_number_ends_the_trial(trial: Trial) -> None:
    with pytest.raises(DivergenceError, match="training loss nan in epoch 1"):
        run_trial(replace(trial, recipe=replace(trial.recipe, lr=1e30, warmup_epochs=0.0)))
