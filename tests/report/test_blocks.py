from dataclasses import fields

import pytest

from ablations.report.blocks import compare, list_parts, show_change
from convnext_path import LADDERS, RECIPES, Flags, Rung
from convnext_path.ladder import flip

RECIPE = RECIPES["digits"]
LADDER = {rung.name: rung for rung in LADDERS["convnext-t"]}


def texts(name: str, part: str) -> list[str]:
    rung = LADDER[name]
    return [line.text for line in list_parts(rung, RECIPE[rung.recipe])[part]]


def test_the_ends_of_the_road() -> None:
    assert texts("resnet", "stem") == [
        "7×7 convolution, 64, stride 2",
        "BatchNorm",
        "ReLU",
        "3×3 max pooling, stride 2",
    ]
    assert texts("resnet", "block") == [
        *("1×1 convolution, 64", "BatchNorm", "ReLU", "3×3 convolution, 64", "BatchNorm", "ReLU"),
        *("1×1 convolution, 256", "BatchNorm", "add the shortcut", "ReLU"),
    ]
    assert texts("resnet", "between stages") == ["stride 2 in the first block"]
    assert texts("separate_downsampling", "stem") == ["4×4 convolution, 96, stride 4", "LayerNorm"]
    assert texts("separate_downsampling", "block") == [
        *("7×7 depthwise convolution, 96", "LayerNorm", "1×1 convolution, 384", "GELU", "1×1 convolution, 96"),
        *("layer scale", "add the shortcut"),
    ]
    assert texts("separate_downsampling", "between stages") == ["LayerNorm", "2×2 convolution, 192, stride 2"]
    assert texts("stage_ratio", "stages")[2] == "9 blocks of width 256"


@pytest.mark.parametrize("ladder", ["convnext-t", "convnext-b", "convnext-nano"])
def test_every_step_changes_something_and_only_the_first_has_nothing_before(ladder: str) -> None:
    recipes, rungs = RECIPES["imagenet"], {rung.name: rung for rung in LADDERS[ladder]}
    bases: list[Rung | None] = [None]
    for rung in rungs.values():
        bases.append(rung if rung.adopted else bases[-1])
    first, *others = (compare(base, rung, recipes) for base, rung in zip(bases, rungs.values(), strict=False))
    assert [change.part for change in first] == ["recipe", "stem", "stages", "between stages", "block"]
    assert not any(change.before or changed for change in first for _, changed in change.after)
    for changes in others:
        assert changes
        for change in changes:
            assert any(changed for side in (change.before, change.after) for _, changed in side)
    assert [change.part for change in others[0]] == ["recipe", "block"]  # with its layer scale


@pytest.mark.parametrize("flag", [field.name for field in fields(Flags)])
def test_a_flip_is_drawn_beside_the_rung_that_it_changes(flag: str) -> None:
    rung = LADDER["recipe"]
    changes = compare(rung, flip(rung, flag, 7 if flag == "kernel_size" else True), RECIPE)
    assert changes
    assert "recipe" not in [change.part for change in changes]


def test_a_change_in_words() -> None:
    (change,) = compare(LADDER["kernel_size_7"], LADDER["gelu"], RECIPE)
    assert show_change(change).splitlines() == [
        "block",
        "    7×7 depthwise convolution, 96     7×7 depthwise convolution, 96",
        "    BatchNorm                         BatchNorm",
        "  * ReLU                            * GELU",
        "    1×1 convolution, 384              1×1 convolution, 384",
        "    BatchNorm                         BatchNorm",
        "  * ReLU                            * GELU",
        "    1×1 convolution, 96               1×1 convolution, 96",
        "    BatchNorm                         BatchNorm",
        "    layer scale                       layer scale",
        "    add the shortcut                  add the shortcut",
        "  * ReLU                            * GELU",
    ]


@pytest.mark.parametrize("ladder", ["swin-t", "swin-v2-nano", "vit-s"])
def test_of_other_networks_the_flags_are_said(ladder: str) -> None:
    recipes, rungs = RECIPES["imagenet"], LADDERS[ladder]
    (change,) = compare(rungs[0], rungs[1], recipes)
    flag, value = rungs[1].change
    assert change.part == "network"
    assert [line.text for line, _ in change.after] == [f"{flag.replace('_', ' ')} {value}"]
