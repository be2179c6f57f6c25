import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pytest

from ablations.fields import Options, freeze, option
from convnext_path.frozen import within


@dataclass(frozen=True)
class Meal(Options):
    place: str | None = option(None, "where")
    dish: str = option("soup", "what there is", choices=("dish", ("soup", "stew")))
    guests: int | Literal["all"] = option("all", "who eats", check=partial(within, low=1, high=9))
    spices: tuple[str, ...] = option((), "what is added", form="NAME,...")
    salt_now: bool = option(False, "rather than later")


@dataclass(frozen=True)
class Lightly(Meal):
    prefix: ClassVar[str] = "kitchen."


@dataclass(frozen=True)
class House(Options):
    rooms: tuple[int, ...] = option((1,), "on each floor", check=partial(within, low=1, high=9))


@dataclass(frozen=True)
class Prices(Options):
    prices: tuple[tuple[str, int], ...] = option((), "of dishes", form="DISH=PRICE,...")


@pytest.mark.parametrize(
    ("values", "frozen"),
    [
        ({"guests": np.int64(3)}, Meal(guests=3)),
        ({"salt_now": np.True_}, Meal(salt_now=True)),
        ({"spices": np.array(["salt", "thyme"])}, Meal(spices=("salt", "thyme"))),
        ({"spices": pd.Series(["salt"])}, Meal(spices=("salt",))),
        ({"place": np.str_("hall")}, Meal(place="hall")),
    ],
)
def test_arrays_are_lists_and_their_numbers_are_numbers(values: dict[str, Any], frozen: Meal) -> None:
    meal = Meal(**values)
    assert meal == frozen
    assert repr(meal) == repr(frozen)  # which tells NumPy's numbers from Python's


def test_what_stands_within_others_is_frozen_too() -> None:
    assert Prices(prices={"soup": np.int32(3)}).prices == (("soup", 3),)  # type: ignore[arg-type, dict-item]
    assert Meal(spices=[Path("salt")]).spices == ("salt",)  # type: ignore[arg-type, list-item]
    with pytest.raises(ValueError, match=r"--prices takes a mapping, got \(\('soup', \(3, 4\)\),\)"):
        Prices(prices={"soup": [3, 4]})  # type: ignore[arg-type, dict-item]


def test_each_number_of_a_list_is_checked() -> None:
    with pytest.raises(ValueError, match="--rooms must be between 1 and 9, got 10"):
        House(rooms=(1, 10))


def test_lists_mappings_and_paths_are_frozen() -> None:
    assert Meal(place=Path("kitchen")).place == "kitchen"  # type: ignore[arg-type]
    assert Prices(prices={"soup": 3}).prices == (("soup", 3),)  # type: ignore[arg-type]
    meal = Meal(spices=["salt", "thyme"])  # type: ignore[arg-type]
    assert meal.spices == ("salt", "thyme")
    assert hash(meal) == hash(Meal(spices=("salt", "thyme")))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dish": "stow"}, r"unknown dish 'stow' \(did you mean stew\?\); allowed: soup, stew"),
        ({"dish": None}, "unknown dish None; allowed: soup, stew"),
        ({"guests": 0}, "--guests must be between 1 and 9, got 0"),
        ({"guests": math.nan}, "--guests takes a whole number or all, got nan"),
        ({"salt_now": 1}, "--salt-now takes true or false, got 1"),
        ({"spices": "salt"}, "--spices takes a list of names, got 'salt'"),
        ({"spices": [1]}, r"--spices takes a list of names, got \(1,\)"),
        ({"place": 3}, "--place takes text, got 3"),
        ({"dish": ["soup"]}, r"unknown dish \('soup',\) "),
        ({"dish": np.array(["soup", "stew"])}, r"unknown dish \('soup', 'stew'\)"),
        ({"guests": np.arange(2)}, r"--guests takes a whole number or all, got \(0, 1\)"),
        ({"guests": pd.DataFrame({"a": [1]})}, "--guests takes a whole number or all, got a 0  1"),
        ({"guests": 10**5000}, "--guests must be between 1 and 9, got a value of type int"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Meal(**values)  # type: ignore[arg-type]


def test_names_are_spelt_as_they_are_typed() -> None:
    assert Meal.spell("salt_now") == "--salt-now"
    assert Lightly.spell("salt_now") == "--kitchen.salt_now"
    with pytest.raises(ValueError, match="--kitchen.guests must be between 1 and 9, got 10"):
        Lightly(guests=10)


def test_a_list_that_holds_itself_is_refused() -> None:
    endless = list[Any]()
    endless.append(endless)
    with pytest.raises(ValueError, match="an option holds itself, or is nested too deeply"):
        Meal(guests=endless)  # type: ignore[arg-type]


class Word(str):
    pass


class Endless:
    def tolist(self) -> "Endless":
        return self


def test_values_of_other_types_are_plain() -> None:
    assert type(freeze(Word("x"))) is str
    assert type(freeze({Word("x"): [Word("y")]})[0][1][0]) is str
    for odd in (np.longdouble(1), Endless()):
        assert freeze(odd) is odd
        with pytest.raises(ValueError, match="--guests takes a whole number or all, got "):
            Meal(guests=odd)  # type: ignore[arg-type]
