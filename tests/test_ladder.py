from dataclasses import fields, replace

import pytest

from convnext_path import CONVNEXT, LADDERS, RECIPES, Flags
from convnext_path.ladder import REFERENCES, Rung, choose_ladder, flip, select_rungs
from convnext_path.networks.designs import Design
from convnext_path.networks.transformer_flags import SWIN, SWIN_V2, VIT, SwinFlags, ViTFlags

ENDS: dict[str, tuple[Design, Design]] = {
    "convnext": (Flags(), CONVNEXT),
    "swin": (SwinFlags(position="relative"), SWIN),
    "swin-v2": (SWIN, SWIN_V2),
    "vit": (ViTFlags(), VIT),
}


@pytest.mark.parametrize("name", LADDERS)
def test_a_rung_changes_one_thing_from_the_last_adopted(name: str) -> None:
    rungs, (start, end) = LADDERS[name], ENDS[name.rpartition("-")[0]]
    base = rungs[0]
    assert base.flags == start
    for rung in rungs[1:]:
        what, value = rung.change
        changed = [f.name for f in fields(start) if getattr(rung.flags, f.name) != getattr(base.flags, f.name)]
        assert [*changed, *["recipe"] * (rung.recipe != base.recipe)] == [what]
        assert (rung.recipe if what == "recipe" else getattr(rung.flags, what)) == value
        base = rung if rung.adopted else base
    assert base.flags == end


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
def test_seventeen_rows_three_not_adopted(name: str) -> None:
    rungs = LADDERS[name]
    assert len({rung.name for rung in rungs}) == len(rungs) == 17
    assert [rung.name for rung in rungs if not rung.adopted] == ["kernel_size_5", "kernel_size_9", "kernel_size_11"]
    assert all(set(RECIPES[family]) >= {rung.recipe for rung in rungs} for family in RECIPES)


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


def test_select_keeps_the_ladders_order() -> None:
    chosen = select_rungs(LADDERS["convnext-t"], ["gelu", "resnet"])
    assert [rung.name for rung in chosen] == ["resnet", "gelu"]
    with pytest.raises(ValueError, match=r"unknown rung 'gello' \(did you mean gelu\?\)"):
        select_rungs(LADDERS["convnext-t"], ["gello"])


def test_flip_is_one_rung_beside() -> None:
    last = LADDERS["convnext-t"][-1]
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
