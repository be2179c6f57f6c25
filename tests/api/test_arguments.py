from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from ablations.api.arguments import checked
from ablations.fields import Options


@checked()
def cook(dish: str, guests: int = 2, place: str | Path | None = None, *, salt: Literal["much", "none"] = "none") -> int:
    """Say how many dishes it takes."""
    return guests


@checked(Options.spell)
def pour(tea_cups: int) -> int:
    return tea_cups


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dish": None}, "dish takes text, got None"),
        ({"dish": []}, r"dish takes text, got \(\)"),
        ({"dish": "a\0"}, "dish takes text that a file name can contain"),
        ({"dish": "soup", "guests": "2"}, "guests takes a whole number, got '2'"),
        ({"dish": "soup", "guests": True}, "guests takes a whole number, got True"),
        ({"dish": "soup", "guests": 2.5}, "guests takes a whole number, got 2.5"),
        ({"dish": "soup", "place": 3}, "place takes text or a path, got 3"),
    ],
)
def test_arguments_of_other_types_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        cook(**arguments)  # type: ignore[arg-type]


def test_arguments_of_their_types_are_taken() -> None:
    assert cook("soup", 3, Path("kitchen")) == 3
    assert cook("soup", np.int64(3)) == 3  # type: ignore[arg-type]
    assert cook("soup", salt="some") == 2  # type: ignore[arg-type]  # an option, which its own class looks at
    assert (cook.__name__, cook.__doc__) == ("cook", "Say how many dishes it takes.")


def test_names_are_spelt_as_asked() -> None:
    with pytest.raises(ValueError, match="^--tea-cups takes a whole number, got 'two'"):
        pour("two")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {}, r"cook\(\): missing a required argument: 'dish'"),
        (("soup",), {"guest": 2}, r"cook\(\) has no argument guest; nearest: guests"),
        (("soup", 2, None, "much"), {}, r"cook\(\): too many positional arguments"),
    ],
)
def test_arguments_that_there_are_not(arguments: tuple[str, ...], options: dict[str, int], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}"):
        cook(*arguments, **options)  # type: ignore[arg-type]
