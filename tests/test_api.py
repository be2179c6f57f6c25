"""The front door: what people get who import ``ablations``."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import ablations
from ablations.__main__ import main
from ablations.engines.scheduler import Local
from ablations.report.readme import ROOT
from ablations.study.folder import StudyFolder
from ablations.study.request import LadderRequest, ModelsRequest, Request
from ablations.study.trial import Plan
from tests.cli.test_commands import fail_recipe
from tests.conftest import run_small


def small_plan() -> Plan:
    return ablations.plan(rungs=("recipe", "layer_norm"), seeds=1, epochs=1, limit_train=64)


def test_a_plan_is_run_and_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = small_plan()
    study = ablations.run(plan, tmp_path / "study", wandb="disabled")
    assert "2 trials: 2 new" in capsys.readouterr().out
    assert study.plan == plan
    assert [record.trial for record in study.records()] == plan.trials()
    assert [step.rung.name for step in study.steps()] == ["recipe", "layer_norm"]
    written = pd.read_csv(tmp_path / "study" / "results.csv")
    assert list(study.table().columns) == list(written.columns)
    assert study.table()["top1"].tolist() == pytest.approx(written["top1"].tolist())
    assert study.failures() == []
    assert study.verify() == {}
    assert {state.kind for state in study.status()} == {"done"}
    before = {file: file.read_bytes() for file in (tmp_path / "study" / "trials").iterdir()}
    again = ablations.run(plan, tmp_path / "study", wandb="disabled")
    assert "2 trials: 2 done" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in before} == before
    assert repr(again) == f"Study({str(tmp_path / 'study')!r})"


def test_a_run_is_the_command_lines(tmp_path: Path) -> None:
    assert run_small(tmp_path / "typed") == 0
    study = ablations.run(small_plan(), tmp_path / "called", wandb="disabled")
    typed = ablations.open_study(tmp_path / "typed")
    assert [record.outcome for record in study.records()] == [record.outcome for record in typed.records()]
    assert study.plan == typed.plan


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ablations.run(small_plan(), tmp_path / "study", dry_run=True)
    assert "2 trials: 2 new" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_failures_are_told_and_end_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablations.engines.choose.Local", partial(Local, work=fail_recipe))
    study = ablations.run(small_plan(), tmp_path / "study", wandb="disabled")
    ((trial, why),) = study.failures()
    assert (trial.rung, why) == ("recipe", "MemoryError: too small a machine")
    assert len(study.records()) == 1


@pytest.fixture
def digits() -> ablations.Study:
    return ablations.open_study(ROOT / "results" / "digits")


def test_a_published_study_is_opened(digits: ablations.Study) -> None:
    written = pd.read_csv(digits.folder / "results.csv")
    assert digits.table()["change"].tolist() == pytest.approx(written["change"].tolist(), nan_ok=True)


@pytest.mark.parametrize("name", ["accuracy", "changes", "road", "road-seconds", "curves", "times"])
def test_charts_are_figures(digits: ablations.Study, name: str) -> None:
    figure = digits.chart(name)
    assert isinstance(figure, Figure)
    text = figure.get_suptitle() or figure.axes[0].get_title(loc="left")
    assert text.startswith("convnext-nano on digits")


def test_an_unknown_chart_names_the_others(digits: ablations.Study) -> None:
    with pytest.raises(ValueError, match=r"unknown chart 'acuracy' \(did you mean accuracy\?\); allowed: accuracy, "):
        digits.chart("acuracy")
    with pytest.raises(ValueError, match="unknown chart 'confusion'"):  # its answers were not kept
        digits.chart("confusion")


def test_what_cannot_be_opened_or_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="contains no study"):
        ablations.open_study(tmp_path)
    plan = small_plan()
    StudyFolder(tmp_path / "study").begin(plan)
    study = ablations.open_study(tmp_path / "study")
    with pytest.raises(ValueError, match="study has no finished trial"):
        study.table()
    (study.folder / "trials" / f"{0:016x}.json").write_text("{}")
    with pytest.raises(ValueError, match="0.json is not a record; --partial draws the rest"):
        study.records()
    assert study.verify() == {study.folder / "trials" / f"{0:016x}.json": "is not a record"}


@pytest.mark.parametrize(
    "command",
    [
        "--ladder convnext-x",
        "--rungs depthwize",
        "--data imagefolder --root /nowhere",
        "--image-size 31",
        "--epochs many",
        "--holdout half",
        "--batch-size 1.5",
        "--batch-size 2000",
        "--precision bf17",
        "--seeds 0",
    ],
)
def test_bad_input_is_told_in_the_command_lines_words(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run", *command.split(), "--dry-run"])
    options = dict(zip(*[iter(command.split())] * 2, strict=True))
    values = {name.strip("-").replace("-", "_"): int(v) if v.isdecimal() else v for name, v in options.items()}
    values |= {"rungs": [values["rungs"]]} if "rungs" in values else {}
    with pytest.raises(ValueError) as wrong:  # noqa: PT011 - its words are compared
        ablations.plan(**values)
    assert capsys.readouterr().err == f"error: {' '.join(str(wrong.value).split())}\n"


@pytest.mark.parametrize(("function", "kind"), [(ablations.plan, LadderRequest), (ablations.compare, ModelsRequest)])
def test_a_plans_options_are_keywords_with_a_line_of_help_each(
    function: Callable[..., Plan], kind: type[Request]
) -> None:
    parameters = inspect.signature(function).parameters
    assert parameters.keys() == {f.name for f in fields(kind)}
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert all(f"\n    {f.name}: " in str(function.__doc__) for f in fields(kind))


def test_a_misspelt_option() -> None:
    with pytest.raises(TypeError, match=r"^plan\(\) has no argument laddr; nearest: ladder"):
        ablations.plan(laddr="convnext-t")
    with pytest.raises(TypeError, match=r"^plan\(\): too many positional arguments"):
        ablations.plan("convnext-t")
    with pytest.raises(TypeError, match=r"^compare\(\): missing a required argument: 'models'"):
        ablations.compare()
    with pytest.raises(AttributeError, match="has no attribute 'pln'"):
        ablations.pln  # noqa: B018


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ablations.costs("convnext-t", "224"), "--image-size takes a whole number, got '224'"),
        (lambda: ablations.costs(3), "--ladder takes text, got 3"),
        (lambda: ablations.prepare("base", "out", "4"), "--workers takes a whole number, got '4'"),
        (lambda: ablations.prepare("base", "out", True), "--workers takes a whole number, got True"),
        (lambda: ablations.prepare(1, "out"), "--root takes text or a path, got 1"),
        (lambda: ablations.prepare("x" * 256, "out"), "--root takes a path of at most"),
        (lambda: ablations.prepare("base", "s3://\0"), "--out takes text that a file name can contain"),
        (lambda: ablations.explain("gelu", []), r"ladder takes text, got \(\)"),
        (lambda: ablations.explain("gelu", "convnext-t", []), r"before takes text, got \(\)"),
        (lambda: ablations.open_study("results", "yes"), "partial takes true or false, got 'yes'"),
        (lambda: ablations.open_study(None), "folder takes text or a path, got None"),
        (lambda: ablations.run(None, "out"), "plan takes a plan made by ablations.plan, got None"),
        (lambda: ablations.run("digits", "out"), "plan takes a plan made by ablations.plan, got 'digits'"),
        (lambda: ablations.run(small_plan(), "x" * 256, dry_run=True), "--study takes a path of at most"),
        (lambda: ablations.run(small_plan(), "out", workers="3"), "--workers takes a whole number or auto, got '3'"),
        (lambda: ablations.foresee(None, profile="a100"), "plan takes a plan made by ablations.plan, got None"),
        (lambda: ablations.foresee(small_plan(), bench="x" * 256), "--bench takes a path of at most"),
    ],
)
def test_arguments_are_checked_before_anything_is_done(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_a_studys_arguments_are_checked(digits: ablations.Study) -> None:
    for take in (digits.chart, digits.verify_trial):
        with pytest.raises(ValueError, match=r"^name takes text, got \(\)"):
            take([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^unknown --mode \[\]"):
        digits.send([])  # type: ignore[arg-type]


def test_arrays_are_taken_as_lists() -> None:
    assert ablations.plan(rungs=np.array(["gelu"]), seeds=np.arange(2), epochs=np.int64(1)).seeds == (0, 1)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("nix", "weights .*/nix cannot be read: No such file or directory"),
        ("broken", "broken"),
        ("a\0", "--weights takes text that a file name can contain"),
    ],
)
def test_weights_that_cannot_be_loaded_are_found_when_the_plan_is_made(
    file: str, message: str, tmp_path: Path, make_images: Callable[..., Path]
) -> None:
    make_images(tmp_path / "images", count=8)
    (tmp_path / "broken").write_text("no weights")
    with pytest.raises(ValueError, match=message):
        ablations.compare(
            models=["resnet18"],
            weights={"resnet18": tmp_path / file},
            data="imagefolder",
            root=tmp_path / "images",
            holdout=0.5,
            batch_size=2,
        )


def test_networks_by_name() -> None:
    plan = ablations.compare(models=["swin-nano", "vit-nano"])
    assert [rung.name for rung in plan.rungs] == ["swin-nano", "vit-nano"]


def test_costs() -> None:
    table = ablations.costs("vit-nano", image_size=32)
    assert (len(table), table["ladder"].unique().tolist()) == (4, ["vit-nano"])
    with pytest.raises(ValueError, match="--image-size must be between 32 and 4096, got 8"):
        ablations.costs("convnext-nano", image_size=8)


def test_a_plan_is_foreseen_on_another_machine() -> None:
    options = {"ladder": "convnext-t", "rungs": ["recipe"], "data": "imagenet", "precision": "bf16-mixed"}
    budget = ablations.foresee(ablations.plan(**options, here=False), profile="a100", memory=1)
    assert not budget.fits
    assert sum(budget.seconds) > 3600
    with pytest.raises(ValueError, match="unknown --profile 'a101'"):
        ablations.foresee(budget.plan, profile="a101")


def test_importing_loads_nothing_until_it_is_asked_for() -> None:
    code = "import sys, ablations; dir(ablations); print([m for m in sys.modules if m.startswith('ablations.')])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    script = """import ablations
plan = ablations.plan(rungs=["gelu"], epochs=1, seeds=1, limit_train=64)
ablations.run(plan, "study", wandb="disabled")
"""
    (tmp_path / "script.py").write_text(script)
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert 'ValueError: call ablations.run under if __name__ == "__main__":' in done.stderr
