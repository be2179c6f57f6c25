from collections.abc import Sequence
from dataclasses import replace

import pytest

from ablations.planning import estimate
from ablations.planning.budget import pack, trial_seconds
from ablations.planning.estimate import QUICK, estimate_seconds, shorten
from ablations.planning.throughput import START, Pace, measure_extent
from ablations.study.trial import Plan, Trial
from ablations.training.costs import trial_cost


def test_the_estimate_goes_with_epochs_and_workers(plan: Plan) -> None:
    trials = plan.trials()
    longer = [replace(trial, recipe=trial.recipe.with_epochs(1000)) for trial in trials]
    assert estimate_seconds(longer, 1) > estimate_seconds(trials, slots=2) > 0


def test_three_rungs_at_most_are_measured_and_the_others_go_with_their_multiply_accumulates(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measure(trials: Sequence[Trial], workers: int, loader_workers: int, patience: float) -> dict[str, Pace]:
        asked.extend(trial.rung for trial in trials)
        return {trial.rung: Pace(START, 1e-9 * trial_cost(trial).all_macs, 0.0, 0.0) for trial in trials}

    monkeypatch.setattr(estimate, "measure_paces", measure)
    first, second = plan.rungs
    rungs = tuple(replace(first, name=f"rung {i}", flags=(first, second)[i % 2].flags) for i in range(5))
    trials = replace(plan, rungs=rungs, seeds=(0,)).trials()
    extent = measure_extent(plan.data)
    paces = [Pace(START, 1e-9 * trial_cost(trial).all_macs, 0.0, 0.0) for trial in trials]
    seconds = [trial_seconds(trial, pace, extent) for trial, pace in zip(trials, paces, strict=True)]
    assert estimate_seconds(trials, 2) == pytest.approx(pack(seconds, 2))
    assert asked == ["rung 0", "rung 2", "rung 4"]


def test_an_engine_without_room_counts_as_one_place(plan: Plan) -> None:
    assert estimate_seconds(plan.trials()[:1], slots=0) > 0


def test_batches_are_shortened_to_what_is_quick(trial: Trial) -> None:
    assert shorten(trial) == trial
    large = replace(trial, recipe=replace(trial.recipe, batch_size=10**9), compile=True)
    assert shorten(large).recipe.batch_size == int(QUICK / trial_cost(trial).all_macs)
    assert not shorten(large).compile
