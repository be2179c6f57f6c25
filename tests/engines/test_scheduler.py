import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from rich.console import Console

from ablations.engines import scheduler
from ablations.engines.local import Job, Message, TrialProcess, Work
from ablations.engines.scheduler import Local, Terms, default_loader_workers, default_workers, run_trials
from ablations.study.folder import StudyFolder
from ablations.study.trial import Plan
from ablations.training.checks import check_plan
from ablations.training.status import Wanted, find_pending, survey
from convnext_path import Data
from convnext_path.files import digest
from tests.conftest import ORIGIN, fake_result, pending


def make_console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def fake(job: Job, send: Callable[[Message], None]) -> None:
    if job.trial.rung == "recipe":
        raise RuntimeError("out of luck")
    send(fake_result(job.trial))


TERMS = Terms(Wanted(ORIGIN), engine=Local(work=fake))


def test_goes_on_after_a_trial_that_failed(tmp_path: Path, plan: Plan) -> None:
    study, console = StudyFolder(tmp_path), make_console()
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
    study, console = StudyFolder(tmp_path), make_console(terminal)
    study.begin(plan)
    here = check_plan(plan)
    assert run_trials(study, plan.trials()[:2], console, Terms(Wanted(here))) == []
    assert find_pending(survey(study, plan, Wanted(here))[0]) == plan.trials()[2:]
    assert "2/2  layer_norm, seed 0: top-1" in console.file.getvalue()  # type: ignore[attr-defined]
    assert not study.running.exists()


def wait_and_fail(job: Job, send: Callable[[Message], None]) -> None:
    while job.study.exists():
        time.sleep(0.05)
    raise RuntimeError("our folder is gone")


@pytest.mark.parametrize("work", [fake, wait_and_fail])
def test_a_study_that_is_moved_ends_the_run_in_a_line_and_is_not_begun_again(
    tmp_path: Path, plan: Plan, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move_and_wait(self: Local, attempts: Sequence[TrialProcess], seconds: float | None) -> list[TrialProcess]:
        if there.exists():
            there.rename(tmp_path / "moved")
        return before(self, attempts, seconds)

    there, before = tmp_path / "study", Local.wait
    monkeypatch.setattr(Local, "wait", move_and_wait)
    study = StudyFolder(there)
    study.begin(plan)
    with pytest.raises(FileNotFoundError, match="the study was moved or removed during training"):
        run_trials(study, plan.trials(), make_console(), Terms(Wanted(ORIGIN), engine=Local(work=work)))
    assert not there.exists()
    assert not StudyFolder(tmp_path / "moved").results()


def test_what_another_driver_holds_or_has_done_is_left_to_it(tmp_path: Path, plan: Plan) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    held, done = (trial for trial in plan.trials() if trial.rung == "layer_norm")
    study.save(fake_result(done, 12.0))
    with study.claim(held, TERMS.wanted.origin):
        missing = run_trials(study, [held, done], make_console(), TERMS, wait=False)
    assert missing == [(held, "another run trains it")]
    assert [result.top1 for result in study.results()] == [12.0]


def tell_pid(job: Job, send: Callable[[Message], None]) -> None:
    (job.study / f"pid-{os.getpid()}").touch()
    time.sleep(60)


def test_ctrl_c_ends_all_and_saves_nothing(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> NoReturn:
        while len(list(tmp_path.glob("pid-*"))) < 2:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduler, "wait", interrupt)
    study = StudyFolder(tmp_path)
    study.begin(plan)
    with pytest.raises(KeyboardInterrupt):
        run_trials(study, plan.trials(), make_console(), replace(TERMS, engine=Local(2, tell_pid)))
    for file in tmp_path.glob("pid-*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.name.removeprefix("pid-")), 0)
    assert pending(study, plan) == plan.trials()
    assert not study.running.exists()


def test_several_at_a_time_give_the_records_of_one(tmp_path: Path, plan: Plan) -> None:
    here, outcomes = check_plan(plan), []
    for workers in (1, 3):
        study = StudyFolder(tmp_path / str(workers))
        study.begin(plan)
        assert run_trials(study, plan.trials(), make_console(), Terms(Wanted(here), engine=Local(workers))) == []
        outcomes.append([result.outcome for result in study.results()])
    assert len(set(outcomes[0])) == len(plan.trials())
    assert outcomes[0] == outcomes[1]


def meet(job: Job, send: Callable[[Message], None]) -> None:
    """Wait for the others; in vain where too few work at a time."""
    (job.study / f"here-{job.trial.id}").touch()
    end = time.monotonic() + 30
    while len(list(job.study.glob("here-*"))) < 4:
        assert time.monotonic() < end
        time.sleep(0.01)
    send(fake_result(job.trial))


def test_as_many_at_a_time_as_the_terms_say(tmp_path: Path, plan: Plan) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    assert run_trials(study, plan.trials(), make_console(), replace(TERMS, engine=Local(4, meet))) == []


def test_a_damaged_checkpoint_is_said_and_the_one_before_taken(tmp_path: Path, plan: Plan) -> None:
    study, console, trial = StudyFolder(tmp_path), make_console(), plan.trials()[1]
    study.begin(plan)
    with study.claim(trial, TERMS.wanted.origin) as place:
        assert place is not None
        whole, damaged = place / f"00001-{digest(b'x')}.ckpt", place / f"00002-{digest(b'x')}.ckpt"
        place.mkdir()
        whole.write_bytes(b"x")
        damaged.write_bytes(b"y")
    run_trials(study, [trial], console, TERMS)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{damaged.name} is damaged" in said
    assert "resumes after epoch 1" in said


@pytest.mark.parametrize(
    ("device", "cores", "threads", "workers"), [("cpu", 8, 1, 8), ("cpu", 8, 3, 2), ("cpu", 1, 2, 1), ("cuda", 8, 1, 1)]
)
def test_default_workers(device: str, cores: int, threads: int, workers: int) -> None:
    assert default_workers(torch.device(device), cores, threads) == workers


@pytest.mark.parametrize(("cores", "readers"), [(-1, 0), (0, 0), (7, 7), (15, 8)])
def test_default_loader_workers(cores: int, readers: int) -> None:
    assert default_loader_workers(Data("digits"), cores) == 0
    assert default_loader_workers(Data("cifar10"), cores) == readers


@dataclass
class Full:
    """An engine whose nodes are gone for a while."""

    looks: int = 0

    @property
    def slots(self) -> int:
        self.looks += 1
        return int(self.looks > 9)

    def start(self, job: Job) -> TrialProcess:
        return TrialProcess(job, fake)

    def wait(self, attempts: Sequence[TrialProcess], seconds: float | None) -> list[TrialProcess]:
        assert attempts or seconds  # else it would look without end, and without a pause
        return list(attempts)


def test_where_no_node_has_room_the_driver_says_so_and_waits(plan: Plan, tmp_path: Path) -> None:
    console, study, engine = make_console(), StudyFolder(tmp_path), Full()
    study.begin(plan)
    run_trials(study, plan.trials(), console, Terms(Wanted(ORIGIN), engine=engine))
    assert console.file.getvalue().count("no node has room; waiting for one") == 1  # type: ignore[attr-defined]
    assert len(study.results()) == 2
