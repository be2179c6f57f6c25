from pathlib import Path
from typing import Any, Literal

import pytest

from ablations.hints import check_type, describe


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (int | None, "a whole number"),
        (int | Literal["auto"], "a whole number or auto"),
        (int | float | str | None, "a whole number, a number or text"),
        (bool | Literal["warn"] | None, "true or false or warn"),
        (str | Path, "text or a path"),
        (tuple[int, ...] | int, "a list such as [0,1] or a whole number"),
        (tuple[tuple[str, object], ...], "a mapping"),
    ],
)
def test_hints_in_words(hint: Any, words: str) -> None:
    assert describe(hint) == words


@pytest.mark.parametrize("word", ["a\0", "\ud800", "caf\udce9\udc00"])
def test_text_that_no_file_can_hold_is_refused(word: str) -> None:
    check_type("place", "caf\udce9", str)  # a byte of a file's name
    with pytest.raises(ValueError, match="^place takes text that a file name can contain, got "):
        check_type("place", word, str)
    with pytest.raises(ValueError, match="^places takes text that a file name can contain, got "):
        check_type("places", (("net", word),), tuple[tuple[str, str], ...])


@pytest.mark.parametrize("value", ["3", 3.0, True, None, [3], {}])
def test_other_types_are_refused_by_name(value: object) -> None:
    check_type("n", 3, int)
    with pytest.raises(ValueError, match="^n takes a whole number, got "):
        check_type("n", value, int)
