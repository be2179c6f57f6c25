import json
from dataclasses import replace

from ablations.study.origin import Origin
from ablations.study.trial import Plan, Result, Trial
from convnext_path import RESNET50, Flags, Recipe
from convnext_path.networks.transformer_flags import SwinFlags, SwinScale, ViTFlags, ViTScale
from tests.conftest import fake_result


def test_records_round_trip(trial: Trial) -> None:
    result = fake_result(trial)
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_the_id_hashes_what_changes_the_outcome(trial: Trial) -> None:
    elsewhere = replace(trial.data, root="/elsewhere", name="cifar10")
    assert replace(trial, data=elsewhere).id == replace(trial, data=replace(elsewhere, root=None)).id
    assert replace(trial, data=replace(trial.data, check_images="headers")).id == trial.id
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
    elsewhere = {"origin": Origin((("torch", "2"),)), "environment": (), "fingerprint": None}
    same = replace(result, seconds=9.0, images_per_second=1.0, peak_memory=1, **elsewhere)
    others = [replace(result, weights="x"), replace(result, top5=1.0), replace(result, curve=result.curve[:1])]
    assert same.outcome == result.outcome
    assert replace(result, trial=replace(trial, ladder="other", rung="name")).outcome == result.outcome
    assert len({result.outcome, *(other.outcome for other in others)}) == 4


def test_the_id_leaves_out_what_is_as_by_default(plan: Plan) -> None:
    trial, later, *_ = plan.trials()
    assert trial.definition["flags"] == {}
    assert later.definition["flags"] == {**dict.fromkeys(later.definition["flags"], True), "kernel_size": 7}
    assert set(trial.definition) == {"flags", "scale", "recipe", "data", "seed"}
    assert trial.definition["data"] == {"limit_train": 100}
    other = replace(trial, compile=True)
    assert set(other.definition) - set(trial.definition) == {"compile"}


def test_the_id_does_not_hang_on_threads_or_on_how_a_number_is_written(trial: Trial) -> None:
    same = [
        replace(trial, threads=4),
        replace(trial, recipe=replace(trial.recipe, randaugment=float(trial.recipe.randaugment))),
        replace(trial, recipe=Recipe.from_dict(json.loads(json.dumps(trial.recipe.to_dict())))),
    ]
    assert {other.id for other in same} == {trial.id}


def test_networks_of_other_kinds_have_other_ids(trial: Trial) -> None:
    """Their defaults say nothing of a network, so that it is named."""
    pairs = [(Flags(), RESNET50), (SwinFlags(), SwinScale()), (ViTFlags(), ViTScale())]
    trials = [replace(trial, flags=flags, scale=scale) for flags, scale in pairs]
    assert len({other.id for other in trials}) == 3
    assert trials[0].definition["flags"] == trials[0].definition["scale"] == {}
    assert trials[1].definition["flags"] == {"kind": "SwinFlags"}


def test_images_may_move_and_be_checked_otherwise(plan: Plan) -> None:
    other = replace(plan, data=replace(plan.data, check_images="none"))
    assert plan.conflicts(other) == []
    assert plan.add(other).data == other.data
    assert [trial.id for trial in other.trials()] == [trial.id for trial in plan.trials()]
