from contextlib import ExitStack
from pathlib import Path

import pytest

from ablations import driver
from ablations.driver import Follower, open_run
from ablations.engines.resources import Resources
from ablations.study.folder import StudyFolder
from ablations.study.keeping import Keeping
from ablations.study.trial import Plan


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
    assert "time    not known: MemoryError\n" in capsys.readouterr().out


def test_what_speaks_against_a_run_is_found_before_anything_is_written(plan: Plan, tmp_path: Path) -> None:
    keeping = Keeping(study=str(tmp_path / "study"), join=True)
    with pytest.raises(ValueError, match="holds no study"), open_run(plan, keeping, Resources()):
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
    with pytest.raises(ChildProcessError, match="the first driver has failed, or our part of a trial"):
        Follower(Team(1)).train()  # type: ignore[arg-type]
