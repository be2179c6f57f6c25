from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from ablations import driver
from ablations.driver import Follower, open_run
from ablations.engines.resources import Resources
from ablations.study.folder import StudyFolder
from ablations.study.keeping import Keeping
from ablations.study.trial import Options, Plan
from convnext_path.ladder import flip
from tests.conftest import fake_result


class Team:
    """Drivers of which another leads."""

    def __init__(self, code: int) -> None:
        self.code = code

    def follow(self) -> int:
        return self.code


def test_an_estimate_that_fails_ends_no_run(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> float:
        raise MemoryError

    monkeypatch.setattr(driver, "estimate_seconds", fail)
    with open_run(plan, Keeping(study=str(tmp_path), dry_run=True), Resources()) as run:
        run.show()
    assert "time    unknown: MemoryError\n" in capsys.readouterr().out


def show(plan: Plan, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run says before it begins."""
    monkeypatch.setattr(driver, "estimate_seconds", lambda *_: 1.0)
    with open_run(plan, Keeping(study=str(folder), dry_run=True), Resources()) as run:
        run.show()
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("trainer", "told"),
    [
        ((), "1 epoch of 2 steps of 50 images"),
        ((("limit_train_batches", 1),), "1 epoch of 1 step of 50 images"),
        ((("limit_train_batches", 0.5),), "1 epoch of 1 step of 50 images"),
        ((("accumulate_grad_batches", 2),), "1 epoch of 1 step of 100 images (2 batches of 50 each)"),
        ((("limit_val_batches", 1),), "1 epoch of 2 steps of 50 images"),
    ],
)
def test_the_plan_shows_the_steps_that_there_will_be(
    trainer: Options,
    told: str,
    plan: Plan,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = show(replace(plan, trainer=trainer), tmp_path / "study", capsys, monkeypatch)
    assert f"recipe  enhanced: {told}" in lines
    assert sum(line.startswith("warning: Each epoch has ") for line in lines) == 1
    told = "Only 50 validation images: one is worth 2.0 points of top-1 accuracy"
    few = f"warning: {told}; there are 360 without --trainer.limit_val_batches 1."
    assert (few in lines) == (trainer[:1] == (("limit_val_batches", 1),))


def test_rungs_that_would_stay_behind_are_named(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flip is tried with two seeds, then the rest is asked for with four."""
    last = plan.rungs[-1]
    study, whole = StudyFolder(tmp_path / "study"), replace(plan, rungs=(*plan.rungs, flip(last, "kernel_size", 3)))
    study.begin(whole)
    for trial in whole.trials():
        study.save(fake_result(trial))
    lines = show(replace(plan, seeds=(0, 1, 2, 3)), study.folder, capsys, monkeypatch)
    assert (
        "warning: layer_norm/kernel_size=3 lacks seeds 2, 3, which others have. The same command with "
        "--rungs layer_norm --flip kernel_size=3 --seeds 4 trains the rest." in lines
    )
    again = show(replace(whole, seeds=(0, 1, 2, 3)), study.folder, capsys, monkeypatch)
    assert not [line for line in again if "lack" in line]


def test_what_speaks_against_a_run_is_found_before_anything_is_written(plan: Plan, tmp_path: Path) -> None:
    keeping = Keeping(study=str(tmp_path / "study"), join=True)
    with pytest.raises(ValueError, match="contains no study"), open_run(plan, keeping, Resources()):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_held_while_it_is_run(plan: Plan, tmp_path: Path) -> None:
    keeping = Keeping(study=str(tmp_path / "study"))
    with ExitStack() as held:
        held.enter_context(open_run(plan, keeping, Resources()))
        with pytest.raises(ValueError, match="is being trained by"):
            held.enter_context(open_run(plan, keeping, Resources()))
    with StudyFolder(tmp_path / "study").lead():
        pass


def test_one_that_follows_says_nothing_and_tells_whether_it_went_well(capsys: pytest.CaptureFixture[str]) -> None:
    follower = Follower(Team(0))  # type: ignore[arg-type]
    follower.show()
    assert follower.train() == []
    assert capsys.readouterr().out == ""
    with pytest.raises(ChildProcessError, match="the first process failed, or this process's part of a trial did"):
        Follower(Team(1)).train()  # type: ignore[arg-type]
