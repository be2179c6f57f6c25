import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ablations import engine
from ablations.engine import default_workers, estimate_seconds, run_trials
from ablations.study import Plan, Result, Study, Trial
from convnext_path import Data
from tests.test_study import fake_result


def make_console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def test_goes_on_after_a_trial_that_failed(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(trial: Trial, *args: object) -> Result:
        if trial.rung == "recipe":
            raise RuntimeError("out of luck")
        return fake_result(trial)

    monkeypatch.setattr(engine, "run_trial", run)
    study, console = Study(tmp_path), make_console()
    study.begin(plan)
    failures = run_trials(study, plan.trials(), console, "disabled", 0)
    assert [trial.rung for trial, _ in failures] == ["recipe", "recipe"]
    assert all("out of luck" in file.read_text() for _, file in failures)
    assert {trial.rung for trial in study.pending(plan)} == {"recipe"}
    assert "failed: RuntimeError: out of luck" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("terminal", [False, True])
def test_trains_and_saves(tmp_path: Path, plan: Plan, terminal: bool) -> None:
    study, console = Study(tmp_path), make_console(terminal)
    study.begin(plan)
    assert run_trials(study, plan.trials()[:2], console, "disabled", 0) == []
    assert study.pending(plan) == plan.trials()[2:]
    assert "2/2  layer_norm, seed 0: top-1" in console.file.getvalue()  # type: ignore[attr-defined]


def test_ctrl_c_stops_and_saves_nothing(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*args: object) -> Result:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run_trial", run)
    study = Study(tmp_path)
    study.begin(plan)
    with pytest.raises(KeyboardInterrupt):
        run_trials(study, plan.trials(), make_console(), "disabled", 0)
    assert study.pending(plan) == plan.trials()


def test_the_estimate_goes_with_epochs(plan: Plan) -> None:
    trials = plan.trials()
    longer = [replace(trial, recipe=trial.recipe.with_epochs(100)) for trial in trials]
    assert estimate_seconds(longer) > 5 * estimate_seconds(trials) > 0


def test_default_workers() -> None:
    assert default_workers(Data("digits")) == 0
    assert 1 <= default_workers(Data("cifar10")) <= 8
