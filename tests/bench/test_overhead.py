from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ablations.__main__ import main
from ablations.bench import overhead, report
from ablations.bench.overhead import Pair, measure_overhead, train_bare
from ablations.study.trial import Plan, Trial
from ablations.training.run import run_trial
from convnext_path import LADDERS


def test_a_bare_loop_trains_the_very_network(trial: Trial) -> None:
    trial = replace(trial, recipe=trial.recipe.with_epochs(2))
    assert train_bare(trial) == run_trial(trial).weights


@pytest.mark.slow
def test_overhead(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(plan, rungs=plan.rungs[:1], seeds=(0,))
    pairs = list(measure_overhead(plan, 1, "disabled"))
    assert [pair.overhead for pair in pairs] == [pairs[0].trial / pairs[0].bare - 1]
    monkeypatch.setattr(report, "measure_overhead", lambda plan, number: [Pair(3.0, 2.0), Pair(2.0, 2.0)])
    assert main(["bench", "--overhead", "--out", str(tmp_path)]) == 0
    assert "overhead of a trial: +25.0%, quartiles +12.5% and +37.5%" in capsys.readouterr().out
    assert list(pd.read_csv(tmp_path / "results.csv")["overhead"]) == [0.5, 0.0]


def test_a_trial_that_fails_ends_it_with_one_line(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "run_trials", lambda *args: [(trial, "out of luck; see failed/x.txt")])
    assert main(["bench", "--overhead", "--out", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err == f"error: the trial failed: out of luck; the measurements so far are in {tmp_path}\n"
    )


def test_the_plan_of_the_overhead_is_the_small_ladders_last_rung() -> None:
    (trial,) = overhead.PLAN.trials()
    assert (trial.rung, trial.scale, trial.data.name) == (
        "separate_downsampling",
        LADDERS["convnext-nano"][0].scale,
        "digits",
    )
