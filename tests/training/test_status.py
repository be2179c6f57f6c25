from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ablations.study.folder import StudyFolder
from ablations.study.origin import Confirmation, Facts, Origin
from ablations.study.trial import UNSEEN, Plan, Trial
from ablations.training.status import (
    Wanted,
    count_states,
    describe_mixture,
    describe_roundings,
    find_pending,
    list_roundings,
    show_states,
    survey,
)
from convnext_path import Data
from convnext_path.files import digest
from tests.conftest import ORIGIN, fake_result

HERE = Wanted(ORIGIN)


def survey_kinds(study: StudyFolder, plan: Plan) -> list[str]:
    return [state.kind for state in survey(study, plan, HERE)[0]]


def test_every_kind_and_what_the_next_run_would_do(tmp_path: Path, plan: Plan) -> None:
    study = StudyFolder(tmp_path)
    plan = replace(plan, seeds=(0, 1, 2, 3))
    study.begin(plan)
    done, stale, damaged, running, failed, begun, *_ = plan.trials()
    study.save(fake_result(done))
    study.save(replace(fake_result(stale), origin=Origin((("code", "abc"), ("torch", "2.14.0")), ORIGIN.rounding)))
    study.save(fake_result(damaged))
    (study.trials / f"{damaged.id}.json").write_text("{}")
    study.save_failure(failed, "MemoryError: too small", "Traceback")
    with study.claim(begun, ORIGIN) as place:
        assert place is not None
        place.mkdir()
        (place / f"00003-{digest(b'')}.ckpt").touch()
    with study.claim(running, ORIGIN):
        states, faults = survey(study, plan, HERE)
    assert [state.kind for state in states] == ["done", "stale", "damaged", "running", "failed", "begun", "new", "new"]
    assert faults == {study.trials / f"{damaged.id}.json": "is not a record"}
    notes = [state.note for state in states]
    assert notes[0] == fake_result(done).outcome[:16]
    assert notes[1] == "torch: 2.14.0 in the record, 2.15.0 here"
    assert notes[2] == "its record is not a record"
    assert notes[4:6] == ["MemoryError: too small", "3 of 1 epochs"]
    assert find_pending(states) == plan.trials()[1:]
    assert find_pending(states, keep_stale=True) == plan.trials()[2:]
    assert count_states(states) == "8 trials: 1 done, 1 stale, 1 damaged, 1 running, 1 failed, 1 begun, 2 new"
    console = Console(width=120, record=True, file=(tmp_path / "shown").open("w"))
    with console.file:
        console.print(show_states(states))
    assert "MemoryError: too small" in console.export_text()


def change(facts: Facts, name: str) -> Facts:
    return tuple(sorted({**dict(facts), name: "other"}.items()))


@pytest.mark.parametrize("name", ["code", "torch", "data", "pillow"])
def test_another_experiment_is_stale_and_told(tmp_path: Path, plan: Plan, name: str) -> None:
    study, trial = StudyFolder(tmp_path), plan.trials()[0]
    study.begin(plan)
    other = replace(fake_result(trial), origin=Origin(change(ORIGIN.experiment, name), ORIGIN.rounding))
    study.save(other)
    assert survey_kinds(study, plan) == ["stale", "new", "new", "new"]
    assert name in survey(study, plan, HERE)[0][0].note
    third = replace(other, origin=Origin((*ORIGIN.experiment, (name, "x"))))
    assert f"{name} other" in describe_mixture([other, third])
    assert describe_mixture([other, other]) == ""


@pytest.mark.parametrize("name", ["device", "processor", "kernels", "math", "threads"])
def test_other_rounding_is_done_and_named_and_trained_again_by_strict(tmp_path: Path, plan: Plan, name: str) -> None:
    study, trial = StudyFolder(tmp_path), plan.trials()[0]
    study.begin(plan)
    other = replace(fake_result(trial), origin=Origin(ORIGIN.experiment, change(ORIGIN.rounding, name)))
    study.save(other)
    (state, *_), _ = survey(study, plan, HERE)
    assert (state.kind, state.note) == ("done", f"{other.outcome[:16]}, different rounding")
    (line,) = list_roundings([state])
    assert line.startswith(f"1 records were made with different rounding: {name}: other in the record")
    (strict, *_), _ = survey(study, plan, replace(HERE, strict=True))
    assert (strict.kind, find_pending([strict])) == ("rounded", [trial])
    assert describe_mixture([other, fake_result(trial)]) == ""
    assert f"{name} " in describe_roundings([other, fake_result(trial)])


def test_confirmed_code_is_as_good_as_the_records_own(trial: Trial) -> None:
    result, later = fake_result(trial), Origin(change(ORIGIN.experiment, "code"), ORIGIN.rounding)
    confirmed = replace(result, confirmed=(Confirmation("other", "2026-01-01"),))
    assert result.differences(later) == ["code: abc in the record, other here"]
    assert confirmed.differences(later) == confirmed.differences(ORIGIN) == []
    newer = replace(result, origin=later)
    assert describe_mixture([confirmed, newer]) == ""
    assert describe_mixture([result, newer]) == "code abc, other"


OTHERS: dict[str, Any] = {
    "kernel_size": 11,
    "depths": (1, 1, 1, 1),
    "ratio_depths": (1, 1, 1, 1),
    "name": "cifar10",
    "image_size": 48,
    "holdout": 0.3,
    "mean": (0.1,),
    "std": (0.2,),
    "optimizer": "sgd",
    "schedule": "step",
    "init": "kaiming_normal",
    "layer_scale": 0.77,
    "ema": 0.55,
}


def another(name: str, value: Any) -> Any:
    """Another value that the field takes."""
    if name in OTHERS:
        return OTHERS[name]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value / 2 or 0.01


def others(trial: Trial) -> list[Trial]:
    """The trial with each field of its flags, scale, recipe and data changed in turn, and another seed and trainer."""
    elsewhere = [replace(trial, data=Data("cifar10", root=root)) for root in (None, "elsewhere")]
    parts = [(part, getattr(trial, part)) for part in ("flags", "scale", "recipe", "data")]
    changed = [
        replace(trial, **{part: replace(whole, **{f.name: another(f.name, getattr(whole, f.name))})})
        for part, whole in parts
        for f in fields(whole)
        if f.name not in UNSEEN
    ]
    return [*changed, *elsewhere, replace(trial, seed=77), replace(trial, trainer=(("precision", "bf16-mixed"),))]


def test_a_record_counts_for_no_other_trial(tmp_path: Path, plan: Plan, trial: Trial) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    study.save(fake_result(trial))
    changed = others(trial)
    assert len(changed) > 45
    assert trial.id not in {other.id for other in changed}
    assert all(study.record(other) is None for other in changed)
