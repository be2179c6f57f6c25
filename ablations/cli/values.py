"""Words and lines of config files as values: a text is what was typed, whatever YAML would make of it."""

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import yaml

from ablations.hints import describe, is_union
from convnext_path.words import refuse_secrets

NUMBERS = {int: re.compile(r"[+-]?[0-9]+"), float: re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")}
LONGEST = 400  # digits of a number
DEEPEST = 10  # of mappings and lists within each other in a config file
SHOWN = 60  # characters of a value in an error


class ReadError(argparse.ArgumentTypeError, ValueError):
    """A word is no value of an option; says what is."""


@dataclass(frozen=True)
class Reader:
    """Reads what is typed for an option of a type: text, numbers, true or false, or one of several words.

    A value that has the type already (of a config file, a default) is taken as it is. Raises a :class:`ReadError`.
    """

    hint: Any

    def __call__(self, word: Any) -> Any:
        for kind in list_kinds(self.hint):
            value = read_as(kind, word)
            if value is not MISSED:
                return check_value(value)
        raise ReadError(f"takes {describe(self.hint)}, got {shorten_text(str(word))!r}")


class ListReader(Reader):
    """Reads words separated by commas; a config may have them as a list."""

    def __call__(self, word: Any) -> Any:
        return super().__call__(",".join(map(str, word)) if isinstance(word, list) else word)


def check_value(value: Any) -> Any:
    """A value, unless it is an address with credentials: what is typed is kept, shown and sent."""
    try:
        refuse_secrets("the address", value if isinstance(value, str) else None)
    except ValueError as error:
        raise ReadError(f"takes no secrets: {error}") from None
    return value


def shorten_text(text: str) -> str:
    """A value as an error shows it."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


MISSED = object()  # said where a word is no value of a kind


def list_kinds(hint: Any) -> list[Any]:
    """The types and literals that a hint stands for, text last."""
    kinds = [kind for part in get_args(hint) for kind in list_kinds(part)] if is_union(hint) else [hint]
    return sorted(kinds, key=lambda kind: kind is str)


def read_as(kind: Any, word: Any) -> Any:
    """A word as a value of a type or literal; :data:`MISSED` where it is none."""
    if get_origin(kind) is Literal:
        return next((value for value in get_args(kind) if word == value or word == str(value)), MISSED)
    if get_args(kind):
        return read_list(get_args(kind)[0], word)
    if kind is NoneType:
        return MISSED if word is not None else None
    if kind is bool:
        return {"true": True, "false": False}.get(str(word).lower(), MISSED) if isinstance(word, str | bool) else MISSED
    if kind in NUMBERS:
        return read_number(kind, word)
    return word if isinstance(word, kind) else MISSED


def read_list(kind: Any, word: Any) -> Any:
    """A list of a config file, or typed as [0,1]."""
    if isinstance(word, str) and word.startswith("[") and word.endswith("]"):
        word = word[1:-1].split(",")
    values = [read_as(kind, one) for one in word] if isinstance(word, list | tuple) else []
    return MISSED if not values or MISSED in values else values


def read_number(kind: Any, word: Any) -> Any:
    """A number in decimal digits: of floats also with a point or an exponent; not a truth value."""
    if isinstance(word, str):
        digits = sum(character.isdigit() for character in word)
        return kind(word) if NUMBERS[kind].fullmatch(word) and digits <= LONGEST else MISSED
    if isinstance(word, bool) or not isinstance(word, int | float) or (kind is int and isinstance(word, float)):
        return MISSED
    return kind(word)


class TextLoader(yaml.SafeLoader):
    """Reads YAML whose plain words stay text but for null, true and false."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the class above has it


TextLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(null|~|)\Z"), ["n", "~", ""])
TextLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)\Z", re.I), [*"tTfF"])


def load_config(text: str) -> Any:
    """What a config says. Raises a YAMLError."""
    try:
        check_config(text)
        check_names(list_names(yaml.compose(text, Loader=TextLoader)))
    except ValueError as error:
        raise yaml.YAMLError(f"it {error}") from None
    config = yaml.load(text, Loader=TextLoader)
    if isinstance(config.get("engine"), str):  # as --engine NAME
        config["engine"] = {"name": config["engine"]}
    return config


def list_names(node: yaml.Node | None) -> list[str]:
    """The names of a config's options, with dots where they stand within others, spelled as fields are."""
    if not isinstance(node, yaml.MappingNode):
        return [""]
    names = [(str(key.value).replace("-", "_"), value) for key, value in node.value]
    return [f"{name}.{inner}".rstrip(".") for name, value in names for inner in list_names(value)]


def check_names(names: Sequence[str]) -> None:
    """Raise a ValueError where an option is there twice, nested and with dots perhaps: which of them counts?"""
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise ValueError(f"has {twice} twice")


def check_config(text: str) -> None:
    """Refuse what a config of options cannot be: anything but a mapping, aliases, tags, deep nests.

    Raises:
        ValueError: says what is wrong with it.
    """
    events = parse_events(text)
    if not isinstance(next(islice(events, 2, None), None), yaml.MappingStartEvent):  # behind stream and document
        raise ValueError("contains no options; --print_config shows the format")
    check_inside(events)


def parse_events(text: str) -> Iterator[yaml.Event]:
    """What a text says in YAML, part by part. Raises a ValueError where it is none."""
    try:
        yield from yaml.parse(text)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two from numbers that are no characters
        raise ValueError(f"is not valid YAML: {error}") from None


def check_inside(events: Iterable[yaml.Event]) -> None:
    """Refuse aliases, tags and deep nests. Stops at the first: to read thousands of brackets takes minutes."""
    depth = 1
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("has aliases; write the values out")
        if tag := getattr(event, "tag", None):
            raise ValueError(f"has the tag {tag}; write plain values")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"is nested more than {DEEPEST} deep")
