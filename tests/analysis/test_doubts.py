from dataclasses import replace
from typing import Any

import pytest

from ablations.analysis.doubts import Doubt, find_doubts, find_spread, list_seeds
from ablations.study.request import LadderRequest, ModelsRequest, make_plan
from ablations.study.trainer import TrainerOptions
from ablations.study.trial import Plan, Seen
from tests.conftest import fake_result

SORTED = "If images are sorted by class, as in folders, the last classes are left out."
MANY = Seen(1437, 360, 10, 32, 1)


def ask(**options: Any) -> Plan:
    return make_plan(LadderRequest(**{"rungs": ("recipe", "gelu"), **options}))


def tell(kind: str, plan: Plan, images: Seen | None = MANY, seeds: Any = None) -> list[str]:
    return [str(doubt) for doubt in find_doubts(plan, images, seeds) if doubt.kind == kind]


def test_a_study_that_can_answer_has_none() -> None:
    assert find_doubts(ask(seeds=3), MANY) == []


@pytest.mark.parametrize(
    ("options", "train", "told"),
    [
        ({"batch_size": 128}, 144, "Each epoch has 1 training step (144 images, batch size 128). "
         "With fewer than 10, a learning rate schedule means little; --batch-size 14 gives 10."),
        ({}, 400, "6 training steps (400 images, batch size 64). "),
        ({"trainer": {"limit_train_batches": 3}}, 1437, "3 training steps (1437 images, batch size 64, "
         "--trainer.limit_train_batches 3). With fewer than 10, a learning rate schedule means little; 22 steps "
         "without --trainer.limit_train"),
        ({"trainer": {"accumulate_grad_batches": 4}}, 1437, "22 steps without --trainer.accumulate_grad_batches 4."),
        ({"trainer": {"accumulate_grad_batches": 2}}, 300, "--batch-size 30 gives 10 without --trainer.accumulate_gra"),
        ({"trainer": {"devices": 4}}, 200, "; --batch-size 20 gives 10."),
        ({"trainer": {"devices": 4}}, 230, "; --batch-size 20 gives 11."),
    ],
)  # fmt: skip
def test_few_steps_an_epoch(options: dict[str, Any], train: int, told: str) -> None:
    options = {**options, "trainer": TrainerOptions(**options.get("trainer", {}))}
    (text,) = tell("steps", ask(**options), replace(MANY, train=train))
    assert told in text


@pytest.mark.parametrize("train", [640, 1437])
def test_enough_steps(train: int) -> None:
    assert tell("steps", ask(batch_size=64), replace(MANY, train=train)) == []


@pytest.mark.parametrize("train", [2, 9, 18])
def test_few_images_to_make_steps_of(train: int) -> None:
    (text,) = tell("steps", ask(batch_size=2), replace(MANY, train=train))
    assert text.endswith("a learning rate schedule means little; more images would help.")


@pytest.mark.parametrize(
    ("val", "limit", "told"),
    [
        (
            36,
            None,
            [
                "Only 36 validation images: one is worth 2.8 points of top-1 accuracy; "
                "more validation images would help."
            ],
        ),
        (
            1,
            None,
            [
                "Only 1 validation image: one is worth 100.0 points of top-1 accuracy; "
                "more validation images would help."
            ],
        ),
        (
            199,
            None,
            [
                "Only 199 validation images: one is worth 0.5 points of top-1 accuracy; "
                "more validation images would help."
            ],
        ),
        (200, None, []),
        (
            360,
            1,
            [
                "Only 64 validation images: one is worth 1.6 points of top-1 accuracy; "
                "there are 360 without --trainer.limit_val_batches 1.",
                f"--trainer.limit_val_batches 1 uses only the first 64 of 360 validation images. {SORTED}",
            ],
        ),
        (360, 0.7, [f"--trainer.limit_val_batches 0.7 uses only the first 256 of 360 validation images. {SORTED}"]),
        (360, 6, []),
    ],
)
def test_few_validation_images(val: int, limit: Any, told: list[str]) -> None:
    plan = ask(trainer=TrainerOptions(limit_val_batches=limit))
    assert tell("validation", plan, replace(MANY, val=val)) == told


def test_few_seeds() -> None:
    assert tell("seeds", ask(seeds=1)) == [
        "One seed cannot tell a change from chance; --seeds 3 gives confidence intervals."
    ]
    (two,) = tell("seeds", ask(seeds=2))
    assert two.startswith("2 seeds tell a change from chance only if it is 9.0 times the standard deviation of its ")
    assert tell("seeds", ask(seeds=3)) == tell("seeds", ask(rungs=("gelu",), seeds=1)) == []
    assert tell("seeds", make_plan(ModelsRequest(models=("resnet-nano", "vit-nano")))) == []
    assert find_spread(3) == pytest.approx(2.484, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "lacking", "told"),
    [
        ({"flip": {"kernel_size": 3}}, "gelu/kernel_size=3", "gelu/kernel_size=3 lacks seeds 2, 3, which others have. "
         "The same command with --rungs gelu --flip kernel_size=3 --seeds 4 trains the rest."),
        ({"flip": {"kernel_size": 3, "gelu": False}}, "gelu/kernel_size=3 gelu/gelu=false", "gelu/kernel_size=3, "
         "gelu/gelu=false lack seeds 2, 3, which others have. The same command with --rungs gelu --flip "
         "kernel_size=3,gelu=false --seeds 4"),
        ({"references": ("vit-nano",)}, "vit-nano", "--rungs recipe --references vit-nano --seeds 4 trains the rest."),
        ({}, "gelu", "gelu lacks seeds 2, 3, which others have. The same command with --rungs gelu --seeds 4"),
        ({"rungs": ("recipe", "gelu", "depthwise")}, "gelu depthwise", "depthwise, gelu lack seeds 2, 3, "),
    ],
)  # fmt: skip
def test_rungs_that_lack_seeds(options: dict[str, Any], lacking: str, told: str) -> None:
    plan = ask(seeds=4, **options)
    seeds = {r.name: {0, 1} if r.name in lacking.split() else {0, 1, 2, 3} for r in plan.rungs}
    (text,) = tell("missing seeds", plan, MANY, seeds)
    assert told in text


def test_the_options_that_are_named_ask_for_what_is_lacking() -> None:
    plan = ask(seeds=4, flip={"kernel_size": 3}, references=("vit-nano",))
    again = make_plan(LadderRequest(rungs=("gelu",), flip={"kernel_size": 3}, seeds=4))  # type: ignore[arg-type]
    assert {t.id for t in plan.trials() if t.rung == "gelu/kernel_size=3"} <= {t.id for t in again.trials()}


def test_seeds_that_are_no_range_are_spelled_out() -> None:
    plan = ask(seeds=(3, 7))
    assert "--seeds 3,7 " in tell("missing seeds", plan, MANY, {"recipe": {3, 7}, "gelu": {3}})[0]


def test_seeds_are_listed_by_rung(plan: Plan) -> None:
    results = [fake_result(trial) for trial in plan.trials()[:3]]
    assert list_seeds(results) == {"recipe": {0, 1}, "layer_norm": {0}}


def test_where_nobody_knows_the_images_they_give_no_doubt() -> None:
    assert {doubt.kind for doubt in find_doubts(ask(seeds=1, batch_size=128), None)} == {"seeds"}
    assert isinstance(find_doubts(ask(seeds=1), None)[0], Doubt)
