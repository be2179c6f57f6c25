"""What every configuration of ours is: frozen, checked, and the same after a trip through JSON."""

import difflib
import math
import sys
import types
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

LONGEST = 500  # characters of a value in an error


def choose(what: str, value: str, allowed: Collection[str]) -> str:
    """Return ``value`` if it is allowed; else raise a ValueError with the nearest and all allowed names."""
    if isinstance(value, str) and value in allowed:
        return value
    near = difflib.get_close_matches(show(value).strip("'"), allowed, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(f"unknown {what} {show(value)}{hint}; allowed: {', '.join(allowed)}")


def show(value: object) -> str:
    """A value as an error names it: in a line, and not longer than one."""
    try:
        text = " ".join(line.strip() for line in repr(value).splitlines())
    except Exception:  # noqa: BLE001 - whatever it is: of long numbers, deep lists and people's own classes
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def at_least(what: str, value: float, least: float) -> None:
    """Raise a ValueError unless ``value >= least``; infinity and not-a-number are refused."""
    if not least <= value < math.inf:
        finite = "" if value < least else " and finite"
        raise ValueError(f"{what} must be at least {least}{finite}, got {show(value)}")


def above(what: str, value: float, limit: float) -> None:
    """Raise a ValueError unless ``value > limit``; infinity and not-a-number are refused."""
    if not limit < value < math.inf:
        raise ValueError(f"{what} must be above {limit} and finite, got {show(value)}")


def within(what: str, value: float, low: float, high: float) -> None:
    """Raise a ValueError unless ``low <= value <= high``; not-a-number is refused."""
    if not low <= value <= high:
        raise ValueError(f"{what} must be between {low} and {high}, got {show(value)}")


def fits(value: object, hint: Any) -> bool:
    """Whether ``value`` is of the annotated type; a bool is no int, an int may stand for a float."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(type(value) is type(a) and value == a for a in args)
    if origin in (Union, types.UnionType):
        return any(fits(value, a) for a in args)
    if origin is tuple:
        inner = args[:1] * len(value) if args[1:] == (...,) and isinstance(value, tuple) else args
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(fits, value, inner))
    if hint is float:
        return isinstance(value, float) or (type(value) is int and abs(value) <= sys.float_info.max)
    if hint is object:  # what JSON has, and what has a hash
        return value is None or isinstance(value, bool | int | float | str) or fits(value, tuple[object, ...])
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    return getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint)


def _to_json(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _to_json(getattr(value, f.name)) for f in fields(value)}
    return [_to_json(v) for v in value] if isinstance(value, tuple) else value


def list_kinds(hint: Any) -> "list[type[Frozen]]":
    """The frozen classes that a hint allows, in its order."""
    return [kind for kind in get_args(hint) or (hint,) if isinstance(kind, type) and issubclass(kind, Frozen)]


def find_kind(hint: Any, content: Mapping[str, Any]) -> Any:
    """Of the frozen classes that a hint allows, the first that has most of the fields."""
    return max(list_kinds(hint), key=lambda kind: len(content.keys() & {f.name for f in fields(kind)}))


def _identify(value: Any, hint: Any) -> Any:
    """A value as :attr:`Frozen.identity` has it: numbers by what they are annotated as, kinds but the first by name."""
    args = get_args(hint)
    if isinstance(value, Frozen):
        first = list_kinds(hint)[:1] == [type(value)]
        return value.identity | ({} if first else {"kind": type(value).__name__})
    if isinstance(value, tuple):
        inner = args[:1] * len(value) if args[1:] == (...,) else args
        return [*map(_identify, value, inner)] if len(inner) == len(value) else _to_json(value)
    is_float = type(value) is int and float in (hint, *args) and int not in args
    return float(value) if is_float else value


_known_hints: dict[type, dict[str, Any]] = {}


def find_hints(kind: type) -> dict[str, Any]:
    """A class's annotations as types; found once, since that takes longer than all else here."""
    return _known_hints.get(kind) or _known_hints.setdefault(kind, get_type_hints(kind))


def _from_json(value: Any, hint: Any) -> Any:
    kinds = [hint, *(get_args(hint) if isinstance(hint, types.UnionType) else ())]
    if isinstance(value, Mapping) and any(isinstance(kind, type) and issubclass(kind, Frozen) for kind in kinds):
        return find_kind(hint, value).from_dict(value)
    if isinstance(value, list):
        args = get_args(hint)
        inner = args[:1] * len(value) if args[1:] == (...,) else args
        return tuple(map(_from_json, value, inner)) if len(inner) == len(value) else tuple(value)
    return value


@dataclass(frozen=True)
class Frozen:
    """Base of the frozen dataclasses: types are checked when made, and JSON gives back an equal value.

    Raises:
        ValueError: a value of another type than annotated, or an unknown field in ``from_dict``;
            the message names what is allowed.
    """

    def __post_init__(self) -> None:
        hints = find_hints(type(self))
        for f in fields(self):
            value = getattr(self, f.name)
            if not fits(value, hints[f.name]):
                expected = _describe(hints[f.name])
                raise ValueError(f"{type(self).__name__}.{f.name} must be {expected}, got {show(value)}")

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON's types: dicts, lists, strings, numbers, booleans and None."""
        result: dict[str, Any] = _to_json(self)
        return result

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this value from one of defaults alone, as JSON's types.

        A field that is added later, at its default, is no part of it, so that what is known by a hash of it keeps its
        name; neither is a class that a hint later allows beside the first. Never change a default: add a field.
        """
        hints = find_hints(type(self))
        changed = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        return {name: _identify(value, hints[name]) for name, value in changed}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; fields left out take their defaults.

        Raises:
            ValueError: what is wrong with ``data``, whatever it is.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"{cls.__name__} is made from a mapping of its fields, got {show(data)}")
        for name in data:
            choose(f"field of {cls.__name__}", name, [f.name for f in fields(cls)])
        needed = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
        if lacking := [name for name in needed if name not in data]:
            raise ValueError(f"{cls.__name__} lacks {', '.join(lacking)}")
        hints = find_hints(cls)
        try:
            return cls(**{name: _from_json(value, hints[name]) for name, value in data.items()})
        except RecursionError:
            raise ValueError(f"{cls.__name__} is made from values that are nested too deeply") from None
