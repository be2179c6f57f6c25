import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from ablations.fields import Options, option
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
class Prices(Options):
    prices: tuple[tuple[str, int], ...] = option((), "of dishes", form="DISH=PRICE,...")


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
        ({"guests": math.nan}, "Meal.guests must be .*int.*, got nan"),
        ({"salt_now": 1}, "Meal.salt_now must be bool, got 1"),
        ({"spices": "salt"}, "Meal.spices must be tuple"),
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
