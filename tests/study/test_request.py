from pathlib import Path
from typing import Any

import pytest

from ablations.study.request import NOWHERE, LadderRequest, ModelsRequest, choose_ladders, list_seeds, make_plan
from ablations.study.trainer import TrainerOptions
from convnext_path import LADDERS, RECIPES


def test_the_default_is_the_whole_nano_ladder_on_digits() -> None:
    plan = make_plan(LadderRequest())
    assert (plan.ladder, plan.rungs, plan.seeds) == ("convnext-nano", LADDERS["convnext-nano"], (0, 1, 2))
    assert dict(plan.recipes) == {name: RECIPES["digits"][name] for name in ("original", "enhanced")}
    assert plan.trainer == ()


def test_plain_values_become_a_plan() -> None:
    request = LadderRequest(
        rungs=["gelu", "recipe"],  # type: ignore[arg-type]
        flip={"kernel_size": 5},  # type: ignore[arg-type]
        references=("vit-nano",),
        seeds=(7, 5, 7),
        mean=(0.5,),
        precision="bf16-mixed",
        trainer=TrainerOptions(accelerator="cpu"),
    )
    plan = make_plan(request)
    assert [rung.name for rung in plan.rungs] == ["recipe", "gelu", "gelu/kernel_size=5", "vit-nano"]
    assert (plan.seeds, plan.data.mean) == ((5, 7), (0.5,))
    assert plan.trainer == (("accelerator", "cpu"), ("precision", "bf16-mixed"))


def test_images_that_are_not_here_are_not_looked_for() -> None:
    with pytest.raises(ValueError, match="imagenet needs a root"):
        make_plan(LadderRequest(data="imagenet"))
    assert make_plan(LadderRequest(data="imagenet", here=False)).data.root == NOWHERE
    assert make_plan(LadderRequest(data="imagenet", root="/x", here=False)).data.root == "/x"


def test_models_are_a_comparison(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    file.write_bytes(b"weights")
    models, weights = ("resnet18", "swin-nano"), (("resnet18", str(file)),)
    plan = make_plan(ModelsRequest(models=models, weights=weights, data="imagefolder", root="x"))
    assert (plan.ladder, plan.seeds, plan.data.image_size) == ("comparison", (0,), 224)
    assert [rung.name for rung in plan.rungs] == ["resnet18/net.pth", "swin-nano"]


@pytest.mark.parametrize(("seeds", "numbers"), [(3, (0, 1, 2)), ((5,), (5,)), ((7, 5, 7), (5, 7))])
def test_seeds(seeds: int | tuple[int, ...], numbers: tuple[int, ...]) -> None:
    assert list_seeds(seeds) == numbers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ladder": "convnext-s"}, r"unknown ladder 'convnext-s' \(did you mean convnext-t\?\)"),
        ({"rungs": ()}, "--rungs names no rung"),
        ({"seeds": 0}, "--seeds must be between 1 and 1000, got 0"),
        ({"seeds": ()}, "--seeds takes a number of seeds, or a list of seeds, got none"),
        ({"seeds": (1, -1)}, "each of --seeds must be between 0 and 4294967295, got -1"),
        ({"epochs": 0}, "--epochs must be between 1 and 1000000, got 0"),
        ({"image_size": 4097}, "--image-size must be between 1 and 4096, got 4097"),
        ({"mean": []}, "--mean takes a number for each channel, got none"),
        ({"std": ()}, "--std takes a number for each channel, got none"),
        ({"mean": (1, float("nan"))}, "--mean takes finite numbers, got '1,nan'"),
        ({"flip": (("gelo", True),)}, r"--flip gelo=true: unknown flag 'gelo' \(did you mean gelu\?\)"),
        ({"epochs": "3"}, "--epochs takes a whole number, got '3'"),
        ({"seeds": 2.0}, r"--seeds takes a whole number or a list such as \[0,1\], got 2.0"),
        ({"flip": "gelu=true"}, "--flip takes a mapping, got 'gelu=true'"),
        ({"batch_size": 10**5000}, "--batch-size must be between 2 and 1000000000, got a value of type int"),
        ({"limit_train": 10**400}, "--limit-train must be between 1 and 1000000000, got 1000"),
        ({"data": "imagefolder", "root": "x" * 256}, "--root takes a path of at most 4000 bytes, 255 in each name"),
        ({"data": "cifar10", "root": "x/" * 2001}, "--root takes a path of at most 4000 bytes, 255 in each name"),
        ({"compile": 1}, "--compile takes true or false, got 1"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(LadderRequest(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("long", [64, "64-true", "bf16-mixed"])
def test_two_precisions_are_one_too_many(long: Any) -> None:
    options = TrainerOptions(precision=long)
    with pytest.raises(ValueError, match=f"--precision 32 is short for --trainer.precision, which is {long}; choose"):
        make_plan(LadderRequest(precision="32", trainer=options))
    assert make_plan(LadderRequest(precision=str(long), trainer=options)).trainer == (("precision", str(long)),)


def test_no_models() -> None:
    with pytest.raises(ValueError, match="--models names no network"):
        make_plan(ModelsRequest(models=()))


def test_ladders_are_chosen_by_the_images_side() -> None:
    assert choose_ladders(None, 224) == ["convnext-t", "convnext-b"]
    assert choose_ladders("swin", 224) == ["swin-t"]
    assert choose_ladders("swin", 32) == ["swin-nano"]
    with pytest.raises(ValueError, match="--image-size must be between 32 and 4096, got 8"):
        choose_ladders("convnext-t", 8)
