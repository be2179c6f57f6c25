import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ablations import engine
from ablations.engine import Terms, default_workers, estimate_seconds, run_trials
from ablations.files import digest
from ablations.options import check_plan
from ablations.process import Job, Message
from ablations.status import find_pending, survey
from ablations.study import Plan, Result, Study
from convnext_path import Data
from tests.test_study import ORIGIN, fake_result, pending


def make_console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def fake(job: Job, send: Callable[[Message], None]) -> None:
    if job.trial.rung == "recipe":
        raise RuntimeError("out of luck")
    send(fake_result(job.trial))


TERMS = Terms(dict(ORIGIN), work=fake)


def test_goes_on_after_a_trial_that_failed(tmp_path: Path, plan: Plan) -> None:
    study, console = Study(tmp_path), make_console()
    study.begin(plan)
    missing = run_trials(study, plan.trials(), console, TERMS)
    assert [trial.rung for trial, _ in missing] == ["recipe", "recipe"]
    assert all(why.startswith("RuntimeError: out of luck; see ") for _, why in missing)
    assert "Traceback" in Path(missing[0][1].rpartition(" ")[2]).read_text()
    assert study.failure(missing[0][0]) == "RuntimeError: out of luck"
    assert {trial.rung for trial in pending(study, plan)} == {"recipe"}
    assert "failed: RuntimeError: out of luck" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("terminal", [False, True])
def test_trains_and_saves(tmp_path: Path, plan: Plan, terminal: bool) -> None:
    study, console = Study(tmp_path), make_console(terminal)
    study.begin(plan)
    here = check_plan(plan)
    assert run_trials(study, plan.trials()[:2], console, Terms(here)) == []
    assert find_pending(survey(study, plan, here)) == plan.trials()[2:]
    assert "2/2  layer_norm, seed 0: top-1" in console.file.getvalue()  # type: ignore[attr-defined]
    assert list(study.running.iterdir()) == []


def test_what_another_driver_holds_or_has_done_is_left_to_it(tmp_path: Path, plan: Plan) -> None:
    study = Study(tmp_path)
    study.begin(plan)
    held, done = (trial for trial in plan.trials() if trial.rung == "layer_norm")
    study.save(fake_result(done, 12.0))
    with study.claim(held, TERMS.origin):
        missing = run_trials(study, [held, done], make_console(), TERMS, wait=False)
    assert missing == [(held, "another driver trains it")]
    assert [result.top1 for result in study.results()] == [12.0]


def test_ctrl_c_stops_and_saves_nothing(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*args: object) -> Result:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run_process", run)
    study = Study(tmp_path)
    study.begin(plan)
    with pytest.raises(KeyboardInterrupt):
        run_trials(study, plan.trials(), make_console(), TERMS)
    assert pending(study, plan) == plan.trials()


def test_a_damaged_checkpoint_is_said_and_the_one_before_taken(tmp_path: Path, plan: Plan) -> None:
    study, console, trial = Study(tmp_path), make_console(), plan.trials()[1]
    study.begin(plan)
    with study.claim(trial, TERMS.origin) as place:
        assert place is not None
        whole, damaged = place / f"00001-{digest(b'x')}.ckpt", place / f"00002-{digest(b'x')}.ckpt"
        place.mkdir()
        whole.write_bytes(b"x")
        damaged.write_bytes(b"y")
    run_trials(study, [trial], console, TERMS)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{damaged.name} is damaged" in said
    assert "goes on after epoch 1" in said


def test_the_estimate_goes_with_epochs(plan: Plan) -> None:
    trials = plan.trials()
    longer = [replace(trial, recipe=trial.recipe.with_epochs(100)) for trial in trials]
    assert estimate_seconds(longer) > 5 * estimate_seconds(trials) > 0


def test_default_workers() -> None:
    assert default_workers(Data("digits")) == 0
    assert 1 <= default_workers(Data("cifar10")) <= 8
