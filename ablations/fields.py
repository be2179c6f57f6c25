"""Options as frozen dataclasses: each field is written once, with its type, default, help and limits.

From Python its value is given as it is; the command line makes an option of it (:mod:`ablations.cli.options`).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from ablations.hints import check_type
from convnext_path.frozen import Frozen, choose, find_hints

Check = Callable[[str, float], None]  # of an option's name and number; raises a ValueError


def option(
    default: Any,
    help: str,
    choices: tuple[str, Collection[str]] | None = None,
    check: Check | None = None,
    form: str = "",
    typed: bool = True,
) -> Any:
    """A field of :class:`Options`.

    Args:
        default: the value where none is given.
        help: what it means, in a line.
        choices: what it is called in an error, and the values that it may have.
        check: what else is asked of a number, such as ``partial(within, low=1, high=9)``.
        form: how a value is typed, such as ``NAME,...``, where that is read by a function of its own.
        typed: whether it is an option of the command line at all.
    """
    about = {"help": help, "choices": choices, "check": check, "form": form, "typed": typed}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Options(Frozen):
    """Base of the classes whose fields are options.

    A list or an array is taken as a tuple, a mapping as its items, a path as text; also where they stand in another.

    Raises:
        ValueError: a value that an option does not take.
    """

    prefix: ClassVar[str] = ""  # of their names on the command line

    def __post_init__(self) -> None:
        hints = find_hints(type(self))
        for f in fields(self):
            value = freeze(getattr(self, f.name))
            object.__setattr__(self, f.name, value)
            if (choices := f.metadata["choices"]) and value is not f.default:
                choose(choices[0], value, choices[1])
            check_type(self.spell(f.name), value, hints[f.name])
            if check := f.metadata["check"]:
                check_numbers(partial(check, self.spell(f.name)), value)

    def __repr__(self) -> str:
        """What differs from the defaults, of classes that have no other."""
        given = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default)
        return f"{type(self).__name__}({', '.join(given)})"

    @classmethod
    def spell(cls, name: str) -> str:
        """A field's name as the command line has it; those with a prefix are spelled as others spell them."""
        return f"--{cls.prefix}{name}" if cls.prefix else f"--{name.replace('_', '-')}"


def freeze(value: Any) -> Any:
    """A value of an option, in place of what people write for it: NumPy's arrays and numbers are lists and numbers.

    Raises a ValueError for a list without an end.
    """
    try:
        return _freeze(value)
    except RecursionError:
        raise ValueError("an option holds itself, or is nested too deeply") from None


def _freeze(value: Any) -> Any:
    match value:
        case Mapping():
            return _freeze([*value.items()])
        case list() | tuple():
            return tuple(map(_freeze, value))
        case Path():
            return str(value)
        case str():
            return str.__str__(value)
        case object(tolist=to_list) if not isinstance(value, type):
            plain = to_list()
            return value if isinstance(plain, type(value)) else _freeze(plain)
    return value


def check_numbers(check: Callable[[float], None], value: object) -> None:
    """Check a value that is a number, and those of a list."""
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float):
            check(number)
