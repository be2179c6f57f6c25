import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.report import lettering
from ablations.study.folder import StudyFolder
from ablations.study.trial import Plan, Trial
from convnext_path.ladder import flip
from tests.conftest import fake_result


def make_study(plan: Plan, folder: Path, without: Callable[[Trial], bool] = lambda trial: False) -> StudyFolder:
    """A study that has a record of each trial but some."""
    study = StudyFolder(folder)
    study.begin(plan)
    for trial in plan.trials():
        if not without(trial):
            study.save(fake_result(trial, 80.0 + trial.seed))
    return study


def report(plan: Plan, folder: Path, without: Callable[[Trial], bool] = lambda trial: False) -> str:
    """The text of its page."""
    make_study(plan, folder, without)
    assert main(["report", str(folder)]) == 0
    return " ".join((folder / "report.html").read_text().split())


def lose_all(study: StudyFolder, others: Plan) -> None:
    for file in study.trials.iterdir():
        file.unlink()


def mix_in(study: StudyFolder, others: Plan) -> None:
    study.save(fake_result(others.trials()[0]))


def damage(study: StudyFolder, others: Plan) -> None:
    next(study.trials.iterdir()).write_text("{}")


@pytest.mark.parametrize("word", ["plot", "report", "wandb"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose_all, "study has no finished trial"),
        (mix_in, ".json belongs to another configuration; --partial draws the rest, and run trains what is lost again"),
        (damage, ".json is not a record; --partial draws the rest"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_nothing_written(
    word: str,
    change: Callable[[StudyFolder, Plan], None],
    message: str,
    plan: Plan,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = make_study(plan, tmp_path / "study")
    change(study, replace(plan, seeds=(7,)))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(SystemExit) as stop:
        main([word, str(study.folder)])
    assert stop.value.code == 2
    streams = capsys.readouterr()
    assert (streams.out, streams.err.count("\n")) == ("", 1)
    assert message in streams.err
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_study_is_reported_as_far_as_it_is(plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_study(plan, tmp_path / "study", lambda trial: trial == plan.trials()[3])
    mix_in(study, replace(plan, seeds=(7,)))
    assert main(["report", str(study.folder), "--partial"]) == 0
    assert f"wrote {study.folder / 'report.html'}" in capsys.readouterr().out
    page = " ".join((study.folder / "report.html").read_text().split())
    assert "belongs to another configuration" in page
    assert "1 of 4 trials have no result" in page
    assert "layer_norm, seed 1: not trained yet" in page


def test_runs_that_wandb_refuses_are_counted(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError("the disk is full")

    study = make_study(plan, tmp_path / "study")
    monkeypatch.setattr("ablations.training.wandb_log._start", refuse)
    assert main(["wandb", str(study.folder), "--mode", "offline"]) == 1
    out = capsys.readouterr().out
    assert "5 of 5 W&B runs could not be sent" in out
    assert "wandb sync" not in out


def test_one_step_of_ones_own_has_an_answer(plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = plan.rungs[1]
    page = report(replace(plan, rungs=(base, flip(base, "gelu", False))), tmp_path / "study")
    assert "Cannot tell, 1 of 1 step: gelu off at layer_norm (+0.00)." in page
    assert "change: in points, from the last adopted step (of a flip: from its own rung), seed by seed." in page
    page = report(replace(plan, rungs=(base,)), tmp_path / "one")
    assert "<p>BN to LN: top-1 80.50 ±6.4 %.</p>" in page


def test_ends_of_other_seeds_are_compared_over_those_that_both_have(plan: Plan, tmp_path: Path) -> None:
    page = report(plan, tmp_path / "one", lambda trial: (trial.rung, trial.seed) == ("recipe", 0))
    assert "80.50 ±6.4 %: +0.00 points, over 1 seed with results for both." in page
    page = report(plan, tmp_path / "none", lambda trial: (trial.rung == "recipe") == (trial.seed == 0))
    assert "from 81.00 % to 80.00 %; no seed has a result for both." in page
    assert "No verdicts" not in page


def test_a_flag_that_nobody_has_explained(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablations.report.page.explain_flags", lambda flags: {})
    assert "BN to LN" in report(plan, tmp_path / "study")


def test_a_full_disk_leaves_what_was_there(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    report(plan, tmp_path / "study")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    monkeypatch.setattr("os.replace", fill)
    assert main(["report", str(tmp_path / "study")]) == 1
    assert {file: file.read_bytes() for file in before} == before


def test_characters_without_a_font_are_told_once(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lettering, "FOUND", dict.fromkeys("中文"))
    rungs = tuple(replace(rung, title=f"中文 {rung.title}") for rung in plan.rungs)
    make_study(replace(plan, rungs=rungs), tmp_path / "study")
    assert main(["plot", str(tmp_path / "study")]) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if "no installed font has" in line]
    assert warnings == [
        "warning: no installed font has U+4E2D, U+6587 (CJK): PNG charts show boxes. Noto Sans has them"
    ]
    assert "中文" in (tmp_path / "study" / "accuracy.svg").read_text(encoding="utf-8")


def test_charts_that_there_are_none_of_are_not_on_the_page(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    page = report(plan, tmp_path / "study")
    assert 'id="changes"' in page
    assert 'id="road"' not in page
    assert not (tmp_path / "study" / "road.png").exists()


@pytest.mark.parametrize("name", ["results.csv", "report.html", "accuracy.png", "changes.svg"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_lies_where_drawings_go_is_put_aside(
    plan: Plan, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(tmp_path / name)
    report(plan, tmp_path)
    assert (tmp_path / name).is_file()
    assert len(list((tmp_path / "aside").iterdir())) == 1
