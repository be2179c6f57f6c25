"""Two processes that train a trial together, beside one that trains it alone."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.engines import local
from ablations.engines.local import Failure, Job, Message, run_process
from ablations.study.checkpoints import epochs_done
from ablations.study.origin import Origin
from ablations.study.trial import Result, Trial
from ablations.training import checkpoint, run
from convnext_path import CONVNEXT, Flags
from convnext_path.data.datasets import open_data
from tests.conftest import COST, fake_result

TWO = (("accelerator", "cpu"), ("devices", 2))


def train(trial: Trial, folder: Path, begin: Path | None = None) -> Result:
    folder.mkdir(exist_ok=True)
    result = run_process(Job(trial, COST, folder, folder / "checkpoints", begin), lambda epoch: None)
    assert isinstance(result, Result), result
    return result


@pytest.mark.parametrize(
    ("flags", "changes", "options"),
    [
        (CONVNEXT, {"drop_path": 0.3, "mixup": 0.8, "cutmix": 1.0, "ema": 0.9}, ()),
        (CONVNEXT, {"mixup": 0.0, "cutmix": 0.0}, (("accumulate_grad_batches", 2), ("gradient_clip_val", 1.0))),
        (Flags(), {"drop_path": 0.3}, (("sync_batchnorm", True),)),
    ],
)
def test_two_train_as_one(
    tmp_path: Path, trial: Trial, flags: Flags, changes: dict, options: tuple[tuple[str, object], ...]
) -> None:
    trial = replace(trial, flags=flags, recipe=replace(trial.recipe.with_epochs(3), **changes), trainer=options)
    alone = train(trial, tmp_path / "alone")
    together = train(replace(trial, trainer=(*options, *TWO)), tmp_path / "together")
    for one, two in zip(alone.curve, together.curve, strict=True):
        assert (one.epoch, one.images, one.lr) == (two.epoch, two.images, pytest.approx(two.lr))
        assert two.train_loss == pytest.approx(one.train_loss, rel=1e-4)
        assert two.val_loss == pytest.approx(one.val_loss, rel=1e-3)
        assert two.top1 == pytest.approx(one.top1, abs=100 / 360 + 1e-4)  # an image on the edge


def test_an_odd_number_of_images_is_validated_once_each(tmp_path: Path, trial: Trial) -> None:
    data = replace(trial.data, holdout=0.0494)
    assert len(open_data(data).val_indices) % 2
    trial = replace(trial, flags=CONVNEXT, data=data)
    alone, together = (train(replace(trial, trainer=t), tmp_path / str(len(t))) for t in ((), TWO))
    assert together.curve[0].val_loss == pytest.approx(alone.curve[0].val_loss, rel=1e-5)
    assert together.top1 == pytest.approx(alone.top1)


def send_much_and_be_last(job: Job, send: Callable[[Message], None]) -> None:
    """The helper is done long before the first, whose message is larger than a pipe holds."""
    if job.rank and job.rank.number == 0:
        time.sleep(1)
        send(replace(fake_result(job.trial), weights="x" * 1_000_000))


def test_a_helper_that_is_done_first_is_no_loss(trial: Trial, tmp_path: Path) -> None:
    job = Job(replace(trial, trainer=TWO), COST, tmp_path, tmp_path)
    result = run_process(job, lambda epoch: None, send_much_and_be_last)
    assert isinstance(result, Result)
    assert len(result.weights) == 1_000_000


def test_batchnorm_that_is_not_synced_sees_less(tmp_path: Path, trial: Trial) -> None:
    """So the test above could fail."""
    trial = replace(trial, flags=Flags())
    alone, together = (train(replace(trial, trainer=t), tmp_path / str(len(t))) for t in ((), TWO))
    assert together.curve[0].train_loss != pytest.approx(alone.curve[0].train_loss, rel=1e-4)


def test_two_resume_to_the_bit(tmp_path: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = replace(trial, recipe=trial.recipe.with_epochs(3), trainer=TWO)
    whole = train(trial, tmp_path)
    first, _ = sorted((tmp_path / "checkpoints").iterdir())
    assert epochs_done(first) == 1
    assert train(trial, tmp_path / "again", first).outcome == whole.outcome


def lose_the_second(job: Job, send: Callable[[Message], None]) -> None:
    if job.rank and job.rank.number == 1:
        os._exit(3)
    time.sleep(60)


def break_the_second(job: Job, send: Callable[[Message], None]) -> None:
    if job.rank and job.rank.number == 1:
        raise OSError("no such file on this node")
    time.sleep(60)


@pytest.mark.parametrize(
    ("work", "summary"),
    [
        (lose_the_second, "its process ended with exit code 3"),
        (break_the_second, "OSError: no such file on this node"),
    ],
)
def test_a_process_that_is_lost_fails_the_trial(
    work: Callable[[Job, Callable[[Message], None]], None], summary: str, trial: Trial, tmp_path: Path
) -> None:
    job = Job(replace(trial, trainer=TWO), COST, tmp_path, tmp_path)
    start = time.monotonic()
    failure = run_process(job, lambda epoch: None, work)
    assert isinstance(failure, Failure)
    assert failure.summary == summary
    assert time.monotonic() - start < 30


def differ(job: Job, send: Callable[[Message], None]) -> None:
    """A node with other code."""
    if job.rank and job.rank.number == 1:
        run.origin = lambda *_: Origin((("code", "other"),))  # type: ignore[assignment]  # this process is the trial's own
    local.train(job, send)


def test_processes_that_differ_train_nothing(trial: Trial, tmp_path: Path) -> None:
    job = Job(replace(trial, trainer=TWO), COST, tmp_path, tmp_path)
    failure = run_process(job, lambda epoch: None, differ)
    assert isinstance(failure, Failure)
    assert "its processes would train other trials; rank " in failure.summary


def test_kept_checkpoints_are_as_many_as_of_one(tmp_path: Path, trial: Trial) -> None:
    train(replace(trial, recipe=trial.recipe.with_epochs(5), trainer=TWO), tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == checkpoint.KEPT
