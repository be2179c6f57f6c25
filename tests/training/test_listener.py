from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ablations.engines.local import Job, run_process
from ablations.study.folder import StudyFolder
from ablations.study.predictions import Answers
from ablations.study.trial import Result, Trial
from ablations.training.run import make_module, run_trial
from convnext_path.data.module import PathData
from tests.conftest import COST


def test_answers_are_those_of_the_last_validation(trial: Trial) -> None:
    kept: list[tuple[torch.nn.Module, Answers]] = []
    result = run_trial(trial, keep=lambda net, answers: kept.append((net, answers)))
    ((net, answers),) = kept
    assert answers.weights == result.weights
    assert 100 * answers.right.mean() == pytest.approx(result.top1)
    data = PathData(trial.data, trial.recipe)
    images, labels = zip(*data.val_dataloader(), strict=True)
    assert answers.truth == tuple(torch.cat(labels).tolist())
    module = make_module(trial, data.splits)
    module.net.load_state_dict(net.state_dict())
    probabilities = torch.cat([module.eval()(batch).softmax(1).detach() for batch in images])
    assert answers.given == tuple(probabilities.argmax(1).tolist())
    assert answers.confidences == pytest.approx(probabilities.max(1).values.tolist(), abs=1e-4)


def test_keeping_changes_no_record(trial: Trial) -> None:
    assert run_trial(trial, keep=lambda net, answers: None).outcome == run_trial(trial).outcome


@pytest.mark.parametrize(
    "options",
    [
        (("num_sanity_val_steps", 1), ("check_val_every_n_epoch", 3)),
        (("val_check_interval", 1),),
        (("limit_val_batches", 2),),
    ],
)
def test_accuracy_and_answers_are_the_final_networks(trial: Trial, options: tuple[tuple[str, object], ...]) -> None:
    trial = replace(trial, recipe=replace(trial.recipe, batch_size=30), trainer=options)
    kept: list[tuple[torch.nn.Module, Answers]] = []
    result = run_trial(trial, keep=lambda net, answers: kept.append((net, answers)))
    ((net, answers),) = kept
    assert 100 * answers.right.mean() == pytest.approx(result.top1)
    data = PathData(trial.data, trial.recipe)
    module = make_module(trial, data.splits).eval()
    module.net.load_state_dict(net.state_dict())
    probabilities = torch.cat([module(images).softmax(1).detach() for images, _ in data.val_dataloader()])
    shown = len(answers.given)
    assert shown == (60 if "limit_val_batches" in dict(options) else 360)
    assert answers.confidences == pytest.approx(probabilities.max(1).values[:shown].tolist(), abs=2e-4)


def keep(trial: Trial, folder: Path) -> Answers:
    study = StudyFolder(folder)
    result = run_process(Job(trial, COST, folder, folder / "checkpoints", keep=True), lambda epoch: None)
    assert isinstance(result, Result), result
    answers = study.read_answers(result)
    assert answers is not None
    (file,) = study.weights.iterdir()
    assert len(torch.load(file, weights_only=True)) > 10
    return answers


def test_two_processes_tell_each_image_once_in_order(tmp_path: Path, trial: Trial) -> None:
    trial = replace(trial, data=replace(trial.data, holdout=0.0494))  # an odd number
    alone = keep(trial, tmp_path / "alone")
    together = keep(replace(trial, trainer=(("accelerator", "cpu"), ("devices", 2))), tmp_path / "together")
    assert len(alone.truth) % 2
    assert together.truth == alone.truth
    assert together.confidences == pytest.approx(alone.confidences, abs=1e-3)
