from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ablations.__main__ import main
from ablations.engines.local import Job
from ablations.engines.scheduler import Terms, run_trials
from ablations.planning.budget import Budget, checkpoint_bytes, pack, trial_seconds
from ablations.planning.profiles import PROFILES
from ablations.planning.throughput import KNOWN, Extent, Pace, profile_paces
from ablations.study.checkpoints import KEPT
from ablations.study.folder import StudyFolder
from ablations.study.origin import Origin
from ablations.study.trial import Plan, Result, Trial
from ablations.training.costs import trial_cost
from ablations.training.run import run_trial
from ablations.training.status import Wanted
from convnext_path import LADDERS, RECIPES, Data
from tests.conftest import fake_result

PACE = Pace(2.0, 0.01, 0.001, 1e9)
DIGITS = Extent(100, 360, 10, 1, 32)


def test_a_trials_seconds(trial: Trial) -> None:
    trial = replace(trial, recipe=replace(trial.recipe.with_epochs(7), batch_size=30))
    assert trial_seconds(trial, PACE, DIGITS) == pytest.approx(2 + 7 * 90 * 0.01 + 7 * 360 * 0.001)
    sparse = replace(trial, trainer=(("check_val_every_n_epoch", 3),))
    assert trial_seconds(sparse, PACE, DIGITS) == pytest.approx(2 + 7 * 90 * 0.01 + 3 * 360 * 0.001)


def test_seconds_are_those_of_the_batches_that_limits_leave(trial: Trial) -> None:
    limits = (("limit_train_batches", 1), ("limit_val_batches", 2))
    trial = replace(trial, recipe=replace(trial.recipe.with_epochs(7), batch_size=30), trainer=limits)
    assert trial_seconds(trial, PACE, DIGITS) == pytest.approx(2 + 7 * 30 * 0.01 + 7 * 60 * 0.001)


@pytest.mark.parametrize(("every", "validations"), [(1, 15), (3, 5), (4, 4), (99, 1)])
def test_the_validations_that_there_will_be(every: int, validations: int, trial: Trial) -> None:
    trial = replace(trial, recipe=trial.recipe.with_epochs(15), trainer=(("check_val_every_n_epoch", every),))
    assert trial_seconds(trial, Pace(0.0, 0.0, 1.0, 0.0), DIGITS) == validations * 360


@given(seconds=st.lists(st.floats(1, 100), min_size=1, max_size=60), slots=st.integers(1, 64))
def test_packing_lies_between_the_ideal_and_twice_that(seconds: list[float], slots: int) -> None:
    """Graham's bound (1969) for trials in any order."""
    ideal = max(sum(seconds) / slots, max(seconds))
    assert ideal <= pack(seconds, slots) * (1 + 1e-9)
    assert pack(seconds, slots) <= (2 - 1 / slots) * ideal * (1 + 1e-9)
    assert pack(seconds, 1) == pytest.approx(sum(seconds))


class Clock:
    """An engine of simulated devices: a trial ends when its seconds are over, and nothing else takes any."""

    def __init__(self, slots: int, seconds: Mapping[str, float]) -> None:
        self.slots, self.seconds, self.now = slots, seconds, 0.0

    def start(self, job: Job) -> "Turn":
        return Turn(job, self.now + self.seconds[job.trial.id])

    def wait(self, attempts: Sequence["Turn"], seconds: float | None) -> list["Turn"]:
        first = min(attempts, key=lambda attempt: attempt.end)
        self.now = first.end
        return [first]


@dataclass
class Turn(AbstractContextManager["Turn"]):
    job: Job
    end: float

    def receive(self) -> Result:
        return replace(fake_result(self.job.trial), origin=Origin())

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("slots", [8, 64])
def test_a_study_is_packed_as_is_foreseen(slots: int, tmp_path: Path) -> None:
    """The driver itself, with the 51 trials of ConvNeXt-T's ladder and their times on an A100."""
    ladder, recipes = LADDERS["convnext-t"], tuple(RECIPES["imagenet"].items())
    plan = Plan("convnext-t", ladder, (0, 1, 2), Data(), recipes, (("precision", "bf16-mixed"),))
    budget = Budget(plan, KNOWN["imagenet"], profile_paces(plan, KNOWN["imagenet"], PROFILES["a100"]))
    clock = Clock(slots, {trial.id: budget.seconds_of(trial) for trial in plan.trials()})
    study = StudyFolder(tmp_path / "study")
    study.begin(plan)
    assert run_trials(study, plan.trials(), Console(quiet=True), Terms(Wanted(Origin()), engine=clock)) == []
    assert len(study.results()) == 51
    assert clock.now == pytest.approx(pack(budget.seconds, slots))
    best = max(sum(budget.seconds) / slots, max(budget.seconds))
    assert best <= clock.now < 1.1 * best


def test_a_checkpoint_takes_what_is_said(tmp_path: Path, trial: Trial) -> None:
    trial = replace(trial, recipe=trial.recipe.with_epochs(4))
    run_trial(trial, folder=tmp_path)
    takes = checkpoint_bytes(trial, trial_cost(trial).params)
    there = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == KEPT
    assert takes < there < takes + 300_000  # names and numbers beside the tensors


def test_the_sum_the_wall_and_the_price(plan: Plan) -> None:
    budget = Budget(plan, DIGITS, {rung.name: PACE for rung in plan.rungs})
    each = trial_seconds(plan.trials()[0], PACE, DIGITS)
    assert budget.seconds == [each] * 4
    total, one, three, *doubts = budget.describe((1, 3), price=3600.0)
    assert doubts == [f"warning: {doubt}" for doubt in budget.doubts]
    assert doubts[0].startswith("warning: Each epoch has 2 training steps (100 images, batch size 50). ")
    assert total.startswith("4 trials, ")
    assert one.endswith(f", {4 * each:,.2f} at 3600 per hour")
    assert three.endswith(f", {3 * 2 * each:,.2f} at 3600 per hour")


def test_a_batch_of_more_images_than_there_are_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--ladder convnext-t --rungs resnet --data imagenet --profile v100 --precision bf16-mixed"
    with pytest.raises(SystemExit, match="2"):
        main(["plan", *options.split(), "--batch-size", "2000000"])
    assert "batch" in (told := capsys.readouterr().err)
    assert "accumulate" not in told
