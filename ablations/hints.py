"""What a type hint allows, in words, and a refusal of what it does not."""

import os
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from convnext_path.frozen import fits, show
from convnext_path.words import join

#: Types as an error names them.
IN_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "Path": "a path",
    "Plan": "a plan made by ablations.plan",
    "[int,...]": "a list such as [0,1]",
    "[float,...]": "a list of numbers",
    "[str,...]": "a list of names",
    "[[str,...],...]": "a mapping",
}


def check_type(what: str, value: object, hint: Any) -> None:
    """Raise a ValueError where a value is of another type than a hint allows, or holds text that no file could be."""
    if not fits(value, hint):
        raise ValueError(f"{what} takes {describe(hint)}, got {show(value)}")
    if not all(map(is_text, list_words(value))):
        raise ValueError(f"{what} takes text that a file name can contain, got {show(value)}")


def list_words(value: object) -> list[str]:
    """A value that is text, or the texts in a tuple."""
    if isinstance(value, tuple):
        return [word for part in value for word in list_words(part)]
    return [value] if isinstance(value, str) else []


def is_text(word: str) -> bool:
    """Whether a file could hold it in its name: no NUL, and no half of a character that is not a file's byte."""
    try:
        return b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:
        return False


def describe(hint: Any) -> str:
    """What a hint allows, as an error says it: a whole number or auto."""
    return join(IN_WORDS.get(name, name) for name in dict.fromkeys(name_types(hint)))


def name_types(hint: Any) -> list[str]:
    """The names of the types that a hint allows, and the values of its literals."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    if is_union(hint):
        return [name for part in get_args(hint) if part is not NoneType for name in name_types(part)]
    return [f"[{name_types(get_args(hint)[0])[0]},...]"] if get_args(hint) else [hint.__name__]


def is_union(hint: Any) -> bool:
    return bool(get_args(hint)) and get_origin(hint) not in (Literal, tuple, list)
