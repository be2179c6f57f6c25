from collections.abc import Callable
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from ablations.cli.options import add_options, read_options, read_seeds
from ablations.cli.parser import Parser, make_compare_parser, make_run_parser
from ablations.cli.values import load_config
from ablations.fields import Options, option
from ablations.study.request import LadderRequest, ModelsRequest, list_seeds, make_plan
from ablations.study.trial import Plan
from ablations.training.checks import check_plan
from convnext_path import LADDERS, RECIPES


def plan_of(*options: str) -> Plan:
    args = make_run_parser().parse_args(list(options))
    return make_plan(read_options(LadderRequest, args))


def test_the_default_is_the_whole_nano_ladder_on_digits() -> None:
    plan = plan_of()
    assert (plan.ladder, plan.rungs, plan.seeds) == ("convnext-nano", LADDERS["convnext-nano"], (0, 1, 2))
    assert dict(plan.recipes) == {name: RECIPES["digits"][name] for name in ("original", "enhanced")}
    assert plan.trainer == ()
    check_plan(plan)


@pytest.mark.parametrize(
    ("text", "seeds"), [(3, (0, 1, 2)), ("1", (0,)), ("5,7", (5, 7)), ("7, 5,7", (5, 7)), ("0,4", (0, 4))]
)
def test_seeds(text: int | str, seeds: tuple[int, ...]) -> None:
    assert list_seeds(read_seeds("seeds", str(text))) == seeds


@pytest.mark.parametrize("text", ["abc", "1.5", "-1", "0", "", "1,,2", "1,b", "²"])
def test_bad_seeds(text: str) -> None:
    with pytest.raises(ValueError, match="--seeds"):
        list_seeds(read_seeds("seeds", text))


def test_epochs_keep_the_originals_share() -> None:
    recipes = dict(plan_of("--recipe", "imagenet", "--epochs", "100").recipes)
    assert (recipes["enhanced"].epochs, recipes["original"].epochs) == (100, 30)
    assert recipes["enhanced"].warmup_epochs == pytest.approx(100 * 20 / 300)
    recipes = dict(plan_of("--recipe", "imagenet", "--epochs", "1").recipes)
    assert recipes["original"].epochs == 1


def test_options_reach_recipe_data_and_trainer(tmp_path: Path) -> None:
    plan = plan_of(
        *("--ladder", "convnext-b", "--rungs", "gelu,resnet", "--recipe", "imagenet", "--batch-size", "512"),
        *("--lr", "0.002", "--image-size", "64", "--limit-train", "300", "--mean", "0.5", "--std", "0.25"),
        *("--skip-bad-images",),
        *("--trainer.precision", "bf16-mixed", "--trainer.gradient_clip_val", "1.0", "--trainer.accelerator", "cpu"),
    )
    recipes = dict(plan.recipes)
    assert [rung.name for rung in plan.rungs] == ["resnet", "gelu"]
    assert (recipes["enhanced_b"].drop_path, recipes["enhanced_b"].lr, recipes["original"].lr) == (0.5, 0.002, 0.1)
    assert {recipe.batch_size for recipe in recipes.values()} == {512}
    assert (plan.data.image_size, plan.data.limit_train, plan.data.mean, plan.data.std) == (64, 300, (0.5,), (0.25,))
    assert plan.data.skip_bad_images
    assert dict(plan.trainer) == {"precision": "bf16-mixed", "gradient_clip_val": 1.0, "accelerator": "cpu"}


def test_flip_adds_a_rung_beside_the_last() -> None:
    plan = plan_of("--rungs", "recipe", "--flip", "kernel_size=7")
    assert [rung.name for rung in plan.rungs] == ["recipe", "recipe/kernel_size=7"]
    assert plan.rungs[1].flags.kernel_size == 7
    plan = plan_of("--rungs", "recipe", "--flip", "kernel_size=7,gelu=True")
    assert [rung.name for rung in plan.rungs] == ["recipe", "recipe/kernel_size=7", "recipe/gelu=true"]
    assert (
        plan_of("--rungs", "recipe", "--flip", "gelu=true, gelu=True").rungs
        == plan_of("--rungs", "recipe", "--flip", "gelu=true").rungs
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--ladder convnext-s", "unknown ladder 'convnext-s'.*allowed: convnext-t, convnext-b, convnext-nano"),
        ("--rungs gelu,lego", "unknown rung 'lego'"),
        ("--data cifar", "unknown data set 'cifar'.*cifar10"),
        ("--recipe fancy", "unknown recipe 'fancy'; allowed: imagenet, cifar, digits"),
        ("--epochs 0", "--epochs must be between 1 and 1000000, got 0"),
        ("--batch-size 1", "--batch-size must be between 2 and 1000000000, got 1"),
        ("--lr 0", "lr must be"),
        ("--flip gelo=true", "did you mean gelu"),
        ("--flip gelu", "--flip takes FLAG=VALUE"),
        ("--flip kernel_size=[5]", r"--flip kernel_size=\[5\]: .*one of 3, 5, 7, 9, 11, got '\[5\]'"),
        ("--flip kernel_size={}", r"--flip kernel_size={}: .*one of 3, 5, 7, 9, 11, got '{}'"),
        ("--flip kernel_size=4", "one of 3, 5, 7, 9, 11"),
        ("--data imagefolder", "needs a root"),
        ("--mean red", "--mean takes numbers"),
        ("--seeds 0,5000000000", "each of --seeds must be between 0 and 4294967295"),
        ("--trainer.limit_val_batches 0", "--trainer.limit_val_batches must be above 0"),
    ],
)
def test_bad_options(options: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(*options.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--image-size 16", "image size 16 is too small for rung separate_downsampling, which needs 32"),
        ("--data imagefolder --root /nowhere", "no folder /nowhere"),
        ("--batch-size 2000", "the batch size is 2000, but there are only 1437"),
        ("--trainer.accelerator abacus", "abacus"),
        ("--limit-train 3", "limit_train 3"),
        ("--trainer.devices 3 --trainer.accelerator cpu", "cannot be shared by 3 processes"),
        ("--precision bf17", "bf17"),
    ],
)
def test_what_only_a_closer_look_finds(options: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_plan(plan_of(*options.split()))


def comparison_of(*options: str) -> Plan:
    args = make_compare_parser().parse_args(list(options))
    return make_plan(read_options(ModelsRequest, args))


def test_a_comparison_is_of_networks_by_name(tmp_path: Path) -> None:
    plan = comparison_of("--models", "resnet18, swin-nano,resnet18", "--data", "imagefolder", "--root", "x")
    assert (plan.ladder, [rung.name for rung in plan.rungs], plan.seeds) == (
        "comparison",
        ["resnet18", "swin-nano"],
        (0,),
    )
    assert dict(plan.recipes) == {"enhanced": RECIPES["cifar"]["enhanced"]}
    assert plan.data.image_size is None


def test_weights_are_tuned_finely_at_the_side_that_they_know(tmp_path: Path) -> None:
    file = tmp_path / "net=1.pth"
    file.write_bytes(b"weights")
    options = ("--models", "resnet18,swin_t", "--weights", f"resnet18={file}", "--data", "imagefolder", "--root", "x")
    plan = comparison_of(*options, "--epochs", "3")
    assert [(rung.name, rung.recipe) for rung in plan.rungs] == [
        ("resnet18/net_1.pth", "finetune"),
        ("swin_t", "enhanced"),
    ]
    assert {name: recipe.epochs for name, recipe in plan.recipes} == {"enhanced": 3, "finetune": 3}
    assert plan.data.image_size == 224
    assert comparison_of(*options, "--image-size", "64").data.image_size == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--models swim_t", "neither torchvision nor timm has a model 'swim_t'; similar: swin_t"),
        ("--models resnet18 --weights resnet18", "--weights takes MODEL=FILE, got 'resnet18'"),
        ("--models resnet18 --weights resnet=x", r"unknown model in --weights 'resnet' \(did you mean resnet18\?\)"),
        ("--models resnet18 --weights resnet18=/nowhere/x", "/nowhere/x cannot be read: No such file"),
        ("--models resnet18 --weights resnet18=setup.py,resnet18=x", "--weights has two files for resnet18"),
        ("--models vit-nano --pretrained", "vit-nano is a network of this project"),
    ],
)
def test_bad_models(options: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        comparison_of(*options.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("resnet18,alexnet", "alexnet cannot take images of 32 px: .*too small"),
        ("maxvit_t", "maxvit_t cannot be made for 2 classes and 3 x 32 x 32 px: .*not divisible by partition size 7"),
    ],
)
def test_networks_that_do_not_suit_are_found_beforehand(
    options: str, message: str, tmp_path: Path, make_images: Callable[..., Path]
) -> None:
    root = make_images(tmp_path / "images", count=20)
    data = ("--data", "imagefolder", "--root", str(root), "--image-size", "32", "--batch-size", "8")
    with pytest.raises(ValueError, match=message):
        check_plan(comparison_of("--models", *options.split(), *data))


def test_references_stand_behind_the_rungs_and_families_are_chosen_by_the_images() -> None:
    plan = plan_of("--ladder", "swin", "--rungs", "windows", "--references", "vit-nano,resnet50")
    assert (plan.ladder, [rung.name for rung in plan.rungs]) == ("swin-nano", ["windows", "vit-nano", "resnet50"])
    assert [trial.rung for trial in plan.trials()[:3]] == ["windows", "vit-nano", "resnet50"]
    assert plan_of("--ladder", "swin", "--data", "imagenet", "--root", "x").ladder == "swin-t"


@dataclass(frozen=True)
class Sauce(Options):
    prefix: ClassVar[str] = "sauce."
    is_hot: bool = option(False, "or mild")


@dataclass(frozen=True, kw_only=True)
class Order(Options):
    rungs: tuple[str, ...] = option(MISSING, "of the ladder", form="NAME,...")
    at_once: tuple[int, ...] = option((1, 8), "guests", form="N,...")
    quick_please: bool = option(False, "in a hurry")
    sauce: Sauce = option(Sauce(), "beside")
    waiter: str = option("Anna", "not for guests to say", typed=False)


def order(*words: str) -> Order:
    parser = Parser()
    add_options(parser, Order)
    return read_options(Order, parser.parse_args(list(words)))


def test_fields_are_options_and_words_their_values() -> None:
    assert order("--rungs", "a, b") == Order(rungs=("a", "b"))
    words = ("--rungs", "a", "--at-once", "2", "--quick-please", "--sauce.is_hot", "true")
    assert order(*words) == Order(rungs=("a",), at_once=(2,), quick_please=True, sauce=Sauce(is_hot=True))


@pytest.mark.parametrize(
    "text", ["rungs: a,b\nat_once: 2,3\n", "rungs: [a, b]\nat_once: [2, 3]\n", "rungs:\n- a\n- b\nat_once: [2,3]\n"]
)
def test_a_config_may_have_lists(text: str) -> None:
    parser = Parser()
    add_options(parser, Order)
    args = parser.parse_object(load_config(text))
    assert read_options(Order, args) == Order(rungs=("a", "b"), at_once=(2, 3))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--waiter Otto", "unknown option --waiter"),
        ("--rungs a --sauce.is_hot very", "--sauce.is_hot takes true or false, got 'very'"),
    ],
)
def test_what_is_no_option_or_no_value(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        order(*words.split())
    assert message in capsys.readouterr().err
