import json
from dataclasses import FrozenInstanceError, dataclass, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnext_path import RECIPES, Flags, Recipe, Scale
from convnext_path.frozen import Frozen, at_least, choose, within

kernels = st.sampled_from([3, 5, 7, 9, 11])
some_flags = st.builds(Flags, **{f.name: st.booleans() for f in fields(Flags) if f.type is bool}, kernel_size=kernels)
widths = st.integers(16, 4096)
some_scales = st.builds(Scale, *[st.tuples(*[st.integers(1, 99)] * 4)] * 2, widths, widths, widths)


@given(some_flags | some_scales | st.sampled_from([r for family in RECIPES.values() for r in family.values()]))
def test_round_trips_through_json(value: Frozen) -> None:
    again = type(value).from_dict(json.loads(json.dumps(value.to_dict())))
    assert again == value
    assert hash(again) == hash(value)


def test_nested_tuples_come_back() -> None:
    @dataclass(frozen=True)
    class Inner(Frozen):
        value: int

    global Outer

    @dataclass(frozen=True)
    class Outer(Frozen):
        inner: Inner
        pairs: tuple[tuple[str, object], ...]

    Outer.__annotations__["inner"] = Inner
    outer = Outer(Inner(3), (("a", 1), ("b", (2, 3))))
    assert Outer.from_dict(json.loads(json.dumps(outer.to_dict()))) == outer


def test_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Flags().gelu = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flags(kernel_size=4), "one of 3, 5, 7, 9, 11, got 4"),
        (lambda: Flags(kernel_size="7"), "one of 3, 5, 7, 9, 11, got '7'"),
        (lambda: Flags(gelu=1), "Flags.gelu must be bool, got 1"),
        (lambda: Scale(width=True), "Scale.width must be int, got True"),
        (lambda: Scale(depths=(3, 4, 6)), "Scale.depths must be"),
        (lambda: Flags.from_dict({"kernal_size": 3}), "did you mean kernel_size"),
        (lambda: Recipe.from_dict({**RECIPES["digits"]["enhanced"].to_dict(), "epochs": "3"}), "must be int"),
        (lambda: choose("fruit", "aple", ["apple", "pear"]), "unknown fruit 'aple'.*apple.*allowed: apple, pear"),
        (lambda: choose("fruit", None, ["apple"]), "unknown fruit None; allowed: apple"),
        (lambda: choose("fruit", ["apple"], {"apple": 1}), r"unknown fruit \['apple'\]"),
        (lambda: choose("fruit", 10**5000, ["apple"]), "unknown fruit a value of type int; allowed: apple"),
        (lambda: within("n", 10**5000, 0, 1), "n must be between 0 and 1, got a value of type int"),
        (lambda: at_least("n", float("nan"), 1), "at least 1"),
        (lambda: within("p", 1.5, 0, 1), "between 0 and 1, got 1.5"),
    ],
)
def test_bad_values_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_int_stands_for_float() -> None:
    assert Recipe.from_dict({**RECIPES["digits"]["enhanced"].to_dict(), "lr": 1}).lr == 1
