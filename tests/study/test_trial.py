import json
from dataclasses import replace

from ablations.study.trial import Plan, Result, Trial
from tests.conftest import fake_result


def test_records_round_trip(trial: Trial) -> None:
    result = fake_result(trial)
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_the_id_hashes_what_changes_the_outcome(trial: Trial) -> None:
    same = replace(trial, ladder="another", rung="name")
    others = [
        replace(trial, seed=5),
        replace(trial, flags=replace(trial.flags, gelu=True)),
        replace(trial, scale=replace(trial.scale, width=50)),
        replace(trial, recipe=replace(trial.recipe, lr=1.0)),
        replace(trial, data=replace(trial.data, limit_train=99)),
        replace(trial, trainer=(("precision", "bf16-mixed"),)),
    ]
    assert same.id == trial.id
    assert len({trial.id, *(other.id for other in others)}) == 7


def test_trials_go_seed_by_seed(plan: Plan) -> None:
    trials = [(t.rung, t.seed) for t in plan.trials()]
    assert trials == [("recipe", 0), ("layer_norm", 0), ("recipe", 1), ("layer_norm", 1)]


def test_the_outcome_leaves_out_what_differs_each_time(trial: Trial) -> None:
    result = fake_result(trial)
    same = replace(result, seconds=9.0, images_per_second=1.0, peak_memory=1, environment=())
    others = [replace(result, weights="x"), replace(result, top5=1.0), replace(result, origin=(("torch", "2"),))]
    assert same.outcome == result.outcome
    assert replace(result, trial=replace(trial, ladder="other", rung="name")).outcome == result.outcome
    assert len({result.outcome, *(other.outcome for other in others)}) == 4
