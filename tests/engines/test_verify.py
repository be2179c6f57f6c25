import json
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ablations.engines import verify
from ablations.engines.local import Failure
from ablations.engines.verify import AFTER, BEFORE, HALF, Comparison, compare_fingerprints, draw_one, repeat_all
from ablations.study.folder import StudyFolder
from ablations.study.origin import Fingerprint, Sketch
from ablations.study.trial import Plan, Result, Seen, Trial
from ablations.training.run import run_trial, take_first_steps
from convnext_path import Recipe
from convnext_path.costs import Cost
from convnext_path.data import module as data
from convnext_path.networks import path as model
from tests.conftest import COST, SKETCHES, fake_result

STEPS = Fingerprint((2.5, 2.25), "def", (2.5, 2.375), (0.001, 0.0), "AdamW", SKETCHES)


def blur(gap: float) -> tuple[Sketch, ...]:
    return (SKETCHES[0], replace(SKETCHES[1], projection=SKETCHES[1].projection + gap))


@pytest.mark.parametrize(
    ("changes", "verdict", "note"),
    [
        ({}, "the same bit for bit", ""),
        ({"weights": "x"}, "the same except for rounding", "only after the first step"),
        ({"losses": (2.5 + BEFORE, 2.25)}, "the same except for rounding", "training loss 1: 2.5 in the record, 2.50"),
        ({"losses": (2.5 + 3 * BEFORE, 2.25)}, "different", "training loss 1: 2.5 in the record"),
        ({"losses": (2.5, 2.25 * (1 - 0.9 * AFTER))}, "the same except for rounding", "training loss 2"),
        ({"losses": (2.5, 2.25 * (1 - 1.1 * AFTER))}, "different", "training loss 2"),
        (
            {"validation": (2.5 + 3 * BEFORE, 2.375)},
            "different",
            "validation loss before the first step: 2.5 in the record",
        ),
        ({"validation": (2.5, 9.0)}, "the same except for rounding", "only after the first step"),
        ({"rates": (0.001, 1e-9)}, "different", "learning rate after epoch 2: 0 in the record, 1e-09 here"),
        ({"losses": (2.5,)}, "different", "losses: (2.5, 2.25) in the record, (2.5,) here"),
        (
            {"sketches": blur(4e-6)},
            "the same except for rounding",
            "training images: they differ by 4e-06 of their size",
        ),
        ({"sketches": blur(1e-5)}, "different", "training images: they differ by 1e-05 of their size"),
        ({"losses": (float("nan"), 2.25)}, "different", "training loss 1: 2.5 in the record, nan here"),
        ({"sketches": blur(float("nan"))}, "different", "training images: they differ by nan of their size"),
        ({"optimizer": "SGD"}, "different", "optimizer: AdamW in the record, SGD here"),
    ],
)
def test_fingerprints_are_told_apart(changes: dict[str, Any], verdict: str, note: str) -> None:
    found, why = compare_fingerprints(STEPS, replace(STEPS, **changes))
    assert (found, why[: len(note)]) == (verdict, note)


def test_half_precision_has_wider_bounds() -> None:
    other = replace(STEPS, losses=(2.5 * (1 + BEFORE * 100), 2.25))
    assert compare_fingerprints(STEPS, other)[0] == "different"
    assert compare_fingerprints(STEPS, other, HALF)[0] == "the same except for rounding"


def wider(monkeypatch: pytest.MonkeyPatch) -> None:
    before = model.initialize
    monkeypatch.setattr(model, "initialize", lambda net, init, std: before(net, init, 1.01 * std))


def brighter(monkeypatch: pytest.MonkeyPatch) -> None:
    before = data.augment
    monkeypatch.setattr(data, "augment", lambda *arguments: before(*arguments) * 1.01)


def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Recipe.lr_at
    monkeypatch.setattr(Recipe, "lr_at", lambda recipe, epoch: before(recipe, epoch) * (1 + 1e-6))


def smoother(monkeypatch: pytest.MonkeyPatch) -> None:
    before = F.cross_entropy

    def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0, **more: Any) -> Any:
        return before(logits, labels, label_smoothing=1.1 * label_smoothing, **more)

    monkeypatch.setattr(F, "cross_entropy", cross_entropy)


def shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    before = data.center
    monkeypatch.setattr(data, "center", lambda *arguments: before(*arguments).roll(1, -1))  # by a pixel


SABOTAGES = {
    "initialization": (wider, "initial answers: they differ by"),
    "augmentation": (brighter, "training images: they differ by 0.01 of their size"),
    "schedule": (faster, "learning rate after epoch 1"),
    "loss": (smoother, "training loss 1"),
    "validation": (shifted, "validation images: they differ by"),
}


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_change_of_numbers_is_caught(monkeypatch: pytest.MonkeyPatch, trial: Trial, name: str) -> None:
    before, _ = take_first_steps(trial)
    sabotage, note = SABOTAGES[name]
    sabotage(monkeypatch)
    verdict, why = compare_fingerprints(before, take_first_steps(trial)[0])
    assert verdict == "different"
    assert note in why


@pytest.fixture
def study(tmp_path: Path, plan: Plan) -> StudyFolder:
    """Two records, one of them of older code."""
    study = StudyFolder(tmp_path / "study")
    plan = replace(plan, seeds=(0,))
    study.begin(plan)
    for trial in plan.trials():
        study.save(run_trial(trial))
    return study


def age(study: StudyFolder, code: str = "older") -> None:
    for record in study.results():
        experiment = tuple({**dict(record.origin.experiment), "code": code}.items())
        study.amend(replace(record, origin=replace(record.origin, experiment=experiment)))


def test_where_all_are_the_same_todays_code_is_entered_beside_the_old(study: StudyFolder) -> None:
    here, lines = study.results()[0].origin, list[str]()
    age(study)
    outcomes = [record.outcome for record in study.results()]
    assert all(record.differences(here) for record in study.results())
    assert repeat_all(study, 2, lines.append)
    assert [line.partition("  ")[0] for line in lines[:2]] == ["1/2", "2/2"]
    assert lines[2] == "2 records: 2 the same bit for bit"
    assert lines[3].startswith("one complete trial: ")
    assert lines[4] == "2 records now hold for today's code too"
    for record in study.results():
        assert record.differences(here) == record.roundings(here) == []
        assert record.codes == ["older", dict(here.experiment)["code"]]
        assert record.confirmed[0].exact
        assert record.confirmed[0].date.startswith("20")
    assert [record.outcome for record in study.results()] == outcomes
    assert study.faults() == {}
    assert repeat_all(study, 2, lines.append)
    assert lines[-1] == "the records already hold for today's code"
    assert all(len(record.confirmed) == 1 for record in study.results())


def test_the_images_that_old_records_do_not_tell_of_are_entered(study: StudyFolder) -> None:
    """Also into those that today's code has confirmed already; what they gave is the same."""
    outcomes = [record.outcome for record in study.results()]
    for record in study.results():
        study.amend(replace(record, seen=None))
    lines = list[str]()
    assert repeat_all(study, 2, lines.append)
    assert lines[-1] == "the records already hold for today's code"
    assert [record.seen for record in study.results()] == 2 * [Seen(100, 360, 10, 32, 1)]
    assert [record.outcome for record in study.results()] == outcomes


def test_where_one_differs_nothing_is_entered(study: StudyFolder) -> None:
    age(study)
    _, second = study.results()
    assert second.fingerprint
    losses = (9.0, *second.fingerprint.losses[1:])
    study.amend(replace(second, fingerprint=replace(second.fingerprint, losses=losses)))
    lines = list[str]()
    assert not repeat_all(study, 2, lines.append)
    assert "layer_norm, seed 0: different (training loss 1: 9 in the record, " in lines[1]
    assert lines[-1] == "the records stay unchanged; today's code was not added to them"
    assert not any(record.confirmed for record in study.results())


def test_here_other_rounding_is_told_and_not_enough(study: StudyFolder) -> None:
    age(study)
    for record in study.results():
        assert record.fingerprint
        study.amend(replace(record, fingerprint=replace(record.fingerprint, weights="rounded")))
    lines = list[str]()
    assert not repeat_all(study, 2, lines.append)
    assert lines[2] == "2 records: 2 the same except for rounding"
    assert not any(record.confirmed for record in study.results())


def test_a_training_that_differs_later_on_is_caught_by_the_one_trained_whole(study: StudyFolder) -> None:
    age(study)
    drawn = draw_one(study, study.results())
    study.amend(replace(drawn, weights="of other last steps"))
    lines = list[str]()
    assert not repeat_all(study, 2, lines.append)
    assert lines[3].startswith(f"one complete trial: {drawn.trial.description}: different (top-1 ")


def test_elsewhere_rounding_is_no_difference_and_is_noted(study: StudyFolder) -> None:
    age(study)
    for record in study.results():
        assert record.fingerprint
        rounding = tuple({**dict(record.origin.rounding), "processor": "another"}.items())
        origin, steps = replace(record.origin, rounding=rounding), replace(record.fingerprint, weights="rounded")
        study.amend(replace(record, origin=origin, fingerprint=steps, weights="rounded"))
    lines = list[str]()
    assert repeat_all(study, 2, lines.append)
    assert lines[2] == "2 records: 2 the same except for rounding"
    assert [c.exact for record in study.results() for c in record.confirmed] == [False, False]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda record: replace(record, fingerprint=None), "without a fingerprint (the record is older"),
        (lambda record: with_images(record, "others"), "different (images: others in the record, "),
        (lambda record: replace(record, cost=COST), "different (costs: Cost(params=100, "),
    ],
)
def test_what_cannot_be_compared_is_said(study: StudyFolder, change: Callable[[Result], Result], note: str) -> None:
    first = study.results()[0]
    study.amend(change(first))
    lines = list[str]()
    assert not repeat_all(study, 1, lines.append)
    assert note in lines[0]


def with_images(record: Result, digest: str) -> Result:
    experiment = tuple({**dict(record.origin.experiment), "data": digest}.items())
    return replace(record, origin=replace(record.origin, experiment=experiment))


def test_a_failure_is_a_difference(monkeypatch: pytest.MonkeyPatch, trial: Trial) -> None:
    monkeypatch.setattr(verify, "run_process", lambda *_: Failure("it broke", ""))
    assert str(verify.compare_steps(fake_result(trial), COST)) == "recipe, seed 0: different (it broke)"


def test_costs_are_counted_in_one_thread(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    """Python 3.11 ends ``ast.parse`` with a SystemError where another thread parses at the same time."""
    threads = set[int]()

    def count(trial: Trial) -> Cost:
        threads.add(threading.get_ident())
        return COST

    monkeypatch.setattr(verify, "run_process", lambda *_: Failure("it broke", ""))
    monkeypatch.setattr(verify, "trial_cost", count)
    assert len(verify.compare_all([fake_result(trial) for trial in plan.trials()], 2, print)) == len(plan.trials())
    assert threads == {threading.get_ident()}


def test_which_is_trained_whole_follows_from_the_studys_name(tmp_path: Path, plan: Plan) -> None:
    records = [fake_result(trial) for trial in plan.trials()]
    drawn = {draw_one(StudyFolder(tmp_path / str(name)), random.sample(records, 4)).trial.id for name in range(20)}
    assert len(drawn) == 4
    same = {draw_one(StudyFolder(tmp_path / "one"), random.sample(records, 4)).trial.id for _ in range(9)}
    assert len(same) == 1


def test_a_study_without_records_is_refused(tmp_path: Path, plan: Plan) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    with pytest.raises(ValueError, match="has no finished trial"):
        repeat_all(study, 1, print)
    assert json.loads(study.plan_file.read_text())
    assert Comparison(fake_result(plan.trials()[0]), "different").is_same is False
