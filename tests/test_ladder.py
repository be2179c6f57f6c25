from collections.abc import Callable
from dataclasses import fields, replace

import pytest

from ablations.analysis.tables import count_cost
from convnext_path import CONVNEXT, LADDERS, RECIPES, Flags
from convnext_path.ladder import ROADS, Rung, choose_ladder, flip, select_rungs, walk
from convnext_path.networks.designs import Design
from convnext_path.networks.transformer_flags import SWIN, SWIN_V2, VIT, SwinFlags, ViTFlags
from convnext_path.references import REFERENCES
from convnext_path.steps import STEPS, Row, Step

#: Where a family starts, the step that it ends with, and the design that this gives.
ENDS: dict[str, tuple[Design, str, Design]] = {
    "convnext": (Flags(), "separate_downsampling", CONVNEXT),
    "swin": (SwinFlags(position="relative"), "shifted_windows", SWIN),
    "swin-v2": (SWIN, "continuous_position", SWIN_V2),
    "vit": (ViTFlags(), "class_token", VIT),
}


@pytest.mark.parametrize("name", LADDERS)
def test_a_rung_changes_one_thing_from_the_last_adopted(name: str) -> None:
    rungs, (start, last, end) = LADDERS[name], ENDS[name.rpartition("-")[0]]
    base = rungs[0]
    assert base.flags == start
    for rung in rungs[1:]:
        what, value = rung.change
        changed = [f.name for f in fields(start) if getattr(rung.flags, f.name) != getattr(base.flags, f.name)]
        assert [*changed, *["recipe"] * (rung.recipe != base.recipe)] == [what]
        assert (rung.recipe if what == "recipe" else getattr(rung.flags, what)) == value
        base = rung if rung.adopted else base
        assert base.name != last or base.flags == end
    assert last in [rung.name for rung in rungs if rung.adopted]


@pytest.mark.parametrize("name", LADDERS)
def test_names_are_a_rungs_own_and_recipes_are_there(name: str) -> None:
    rungs = LADDERS[name]
    assert len({rung.name for rung in rungs}) == len(rungs)
    assert all(set(RECIPES[family]) >= {rung.recipe for rung in rungs} for family in RECIPES)


def test_families_and_references() -> None:
    assert [choose_ladder("swin", small) for small in (True, False)] == ["swin-nano", "swin-t"]
    assert choose_ladder("vit-s", small=True) == "vit-s"
    with pytest.raises(ValueError, match=r"unknown ladder 'swim' \(did you mean swin\?\)"):
        choose_ladder("swim", small=True)
    assert REFERENCES["swin-t"].flags == SWIN
    assert REFERENCES["resnet50"].flags == Flags()
    assert all(rung.is_reference and not rung.adopted for rung in REFERENCES.values())


@pytest.mark.parametrize("name", ["convnext-t", "convnext-b", "convnext-nano"])
def test_the_papers_rows_are_seventeen_three_not_adopted(name: str) -> None:
    published = [rung.name for rung in LADDERS["convnext-t"] if rung.paper_top1 is not None]
    rungs = [rung for rung in LADDERS[name] if rung.name in published]
    assert [rung.name for rung in rungs] == published
    assert len(set(published)) == 17
    assert [rung.name for rung in rungs if not rung.adopted] == ["kernel_size_5", "kernel_size_9", "kernel_size_11"]


def test_published_figures() -> None:
    """Sums over the tables' columns, so that a slip of the pen shows."""
    assert sum(r.paper_top1 or 0 for r in LADDERS["swin-t"]) == pytest.approx(482.7)
    small, large = LADDERS["convnext-t"], LADDERS["convnext-b"]
    assert sum(r.paper_top1 or 0 for r in small) == pytest.approx(1361.86)
    assert sum(r.paper_std or 0 for r in small) == pytest.approx(1.36)
    assert sum(r.paper_gmacs or 0 for r in small) == pytest.approx(71.61)
    assert sum(r.paper_top1 or 0 for r in large) == pytest.approx(1393.42)
    assert sum(r.paper_gmacs or 0 for r in large) == pytest.approx(247.40)
    assert all(r.paper_top1 is None for r in LADDERS["convnext-nano"])


def test_rungs_round_trip() -> None:
    assert all(Rung.from_dict(rung.to_dict()) == rung for rung in LADDERS["convnext-b"])


@pytest.mark.parametrize("ladders", [("convnext-t",), ("convnext-b",), ("convnext-t", "convnext-b", "convnext-nano")])
def test_a_step_of_ones_own_is_one_line(ladders: tuple[str, ...], add_step: Callable[[Step], None]) -> None:
    before = dict(LADDERS)
    add_step(Step("mine", "my step", "Mine", ("kernel_size", 9), tuple(map(Row, ladders)), adopted=False))
    for name, rungs in before.items():
        assert LADDERS[name][: len(rungs)] == rungs  # the papers' and all others
        added = LADDERS[name][len(rungs) :]
        assert [rung.name for rung in added] == ["mine"] * (name in ladders)
        for rung in added:
            assert (rung.flags, rung.scale) == (replace(rungs[-1].flags, kernel_size=9), rungs[-1].scale)
            assert (rung.recipe, rung.is_tried, rung.paper_top1) == (rungs[-1].recipe, True, None)
            mine, last = (count_cost(r, 224).paper_macs for r in (rung, rungs[-1]))
            assert mine != last


def test_an_adopted_step_is_what_the_next_ones_change(add_step: Callable[[Step], None]) -> None:
    on = (Row("convnext-nano"),)
    middle = (*STEPS[:4], Step("mine", "my step", "Mine", ("layer_norm", True), on), *STEPS[4:])
    rungs = {rung.name: rung for rung in walk("convnext-nano", replace(ROADS["convnext-nano"], steps=middle))}
    assert list(rungs)[3:6] == ["patchify_stem", "mine", "depthwise"]
    assert rungs["depthwise"].flags == replace(rungs["mine"].flags, depthwise=True)
    tried = replace(middle[4], change=("recipe", "original"), adopted=False)
    steps = (*middle[:4], tried, *STEPS[4:])
    rungs = {rung.name: rung for rung in walk("convnext-nano", replace(ROADS["convnext-nano"], steps=steps))}
    assert (rungs["mine"].recipe, rungs["depthwise"].recipe) == ("original", "enhanced")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Step("mine", "", "", ("gelu", True), (Row("convnext-x"),)), "unknown ladder of step mine 'convnext-x'"),
        (Step("mine", "", "", ("gelu", True), (Row("swin-t"),)), "unknown ladder of step mine 'swin-t'"),
        (Step("mine", "", "", ("gelo", True), (Row("convnext-t"),)), r"step mine 'gelo' \(did you mean gelu\?\)"),
        (Step("mine", "", "", ("kernel_size", 4), (Row("convnext-t"),)), "kernel_size must be one of 3, 5, 7, 9, 11"),
    ],
)
def test_steps_that_cannot_be_taken(step: Step, message: str, add_step: Callable[[Step], None]) -> None:
    with pytest.raises(ValueError, match=message):
        add_step(step)


def test_select_keeps_the_ladders_order() -> None:
    chosen = select_rungs(LADDERS["convnext-t"], ["gelu", "resnet"])
    assert [rung.name for rung in chosen] == ["resnet", "gelu"]
    with pytest.raises(ValueError, match=r"unknown rung 'gello' \(did you mean gelu\?\)"):
        select_rungs(LADDERS["convnext-t"], ["gello"])


def test_flip_is_one_rung_beside() -> None:
    (last,) = select_rungs(LADDERS["convnext-t"], ["separate_downsampling"])
    mine = flip(last, "kernel_size", 5)
    assert mine.flags == replace(last.flags, kernel_size=5)
    assert (mine.name, mine.base) == ("separate_downsampling/kernel_size=5", "separate_downsampling")
    assert (mine.adopted, mine.paper_top1) == (False, None)
    assert flip(last, "gelu", False).title == "gelu off at separate_downsampling"
    for flag, value, message in [
        ("gelo", True, "did you mean gelu"),
        ("kernel_size", 6, "one of 3, 5, 7"),
        ("gelu", True, "already"),
    ]:
        with pytest.raises(ValueError, match=message):
            flip(last, flag, value)
