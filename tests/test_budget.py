import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.budget import Budget, Pace, checkpoint_bytes, measure_pace, pack, read_paces, trial_seconds
from ablations.checkpoint import KEPT
from ablations.run import run_trial, trial_cost
from ablations.trial import Plan, Trial

PACE = Pace(2.0, 0.01, 0.001, 1e9)


def test_a_trials_seconds(trial: Trial) -> None:
    trial = replace(trial, recipe=replace(trial.recipe.with_epochs(7), batch_size=30))
    assert trial_seconds(trial, PACE) == pytest.approx(2 + 7 * 90 * 0.01 + 7 * 360 * 0.001)
    sparse = replace(trial, trainer=(("check_val_every_n_epoch", 3),))
    assert trial_seconds(sparse, PACE) == pytest.approx(2 + 7 * 90 * 0.01 + 3 * 360 * 0.001)


@given(seconds=st.lists(st.floats(1, 100), min_size=1, max_size=60), slots=st.integers(1, 64))
def test_packing_lies_between_the_ideal_and_twice_that(seconds: list[float], slots: int) -> None:
    """Graham's bound (1969) for trials in any order."""
    ideal = max(sum(seconds) / slots, max(seconds))
    assert ideal <= pack(seconds, slots) * (1 + 1e-9)
    assert pack(seconds, slots) <= (2 - 1 / slots) * ideal * (1 + 1e-9)
    assert pack(seconds, 1) == pytest.approx(sum(seconds))


def test_a_pace_is_that_of_the_trial(trial: Trial) -> None:
    pace = measure_pace(trial)
    assert min(pace.start, pace.train, pace.validate) > 0
    assert pace.memory > 1e6


def test_a_checkpoint_takes_what_is_said(tmp_path: Path, trial: Trial) -> None:
    trial = replace(trial, recipe=trial.recipe.with_epochs(4))
    run_trial(trial, folder=tmp_path)
    there = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == KEPT
    assert checkpoint_bytes(trial) < there < checkpoint_bytes(trial) + 300_000  # names and numbers beside the tensors


def write_bench(folder: Path, plan: Plan, precision: str = "fp32") -> None:
    (folder / "bench.json").write_text(json.dumps({"terms": {"batch_size": 10}}))
    trials = {trial.rung: trial for trial in plan.trials()}.values()
    rows = [
        {
            "rung": trial.rung,
            "precision": precision,
            "task": task,
            "source": source,
            "macs": 2 * trial_cost(trial).paper_macs,
            "images_per_second": rate * (3 if source == "stock" else 1),
            "peak_memory": 16 * trial_cost(trial).params + 10 * 4000,
        }
        for trial in trials
        for task, rate in (("training", 10), ("inference", 40))
        for source in ("ours", "stock")
    ]
    pd.DataFrame(rows).to_csv(folder / "results.csv", index=False)


def test_a_benchmarks_pace_is_scaled_to_the_images_and_the_batch(tmp_path: Path, plan: Plan) -> None:
    write_bench(tmp_path, plan)
    paces = read_paces(plan, tmp_path)
    assert list(paces) == [rung.name for rung in plan.rungs]
    trial = plan.trials()[0]
    pace = paces[trial.rung]
    assert (pace.train, pace.validate) == (pytest.approx(0.05), pytest.approx(0.0125))
    assert pace.memory == pytest.approx(16 * trial_cost(trial).params + 2000 * trial.recipe.batch_size)


def test_benchmarks_that_do_not_serve(tmp_path: Path, plan: Plan) -> None:
    with pytest.raises(ValueError, match="holds no benchmark"):
        read_paces(plan, tmp_path)
    write_bench(tmp_path, plan, "bf16")
    with pytest.raises(ValueError, match="has no recipe in fp32; there: layer_norm in bf16, recipe in bf16"):
        read_paces(plan, tmp_path)
    assert read_paces(replace(plan, trainer=(("precision", "bf16-mixed"),)), tmp_path)


def test_the_sum_the_wall_and_the_price(plan: Plan) -> None:
    budget = Budget(plan, {rung.name: PACE for rung in plan.rungs})
    each = trial_seconds(plan.trials()[0], PACE)
    assert budget.seconds == [each] * 4
    total, one, three = budget.describe((1, 3), price=3600.0)
    assert total.startswith("4 trials, ")
    assert one.endswith(f", {4 * each:,.2f} at 3600 an hour")
    assert three.endswith(f", {3 * 2 * each:,.2f} at 3600 an hour")
