"""Arguments of functions that people call: named where there are none such, and of the types that are annotated."""

from collections.abc import Callable
from functools import wraps
from inspect import BoundArguments, Parameter, Signature, signature
from typing import Any, ParamSpec, TypeVar

from ablations.fields import freeze
from ablations.hints import check_type
from convnext_path.words import suggest

P = ParamSpec("P")
T = TypeVar("T")


def checked(spell: Callable[[str], str] = str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Give a function arguments that are checked; those by keyword alone are options, whose own class does that.

    ``spell``: how an error writes an argument's name. The function raises a ValueError for one of another type.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        shape = signature(function)

        @wraps(function)
        def call(*args: P.args, **options: P.kwargs) -> T:
            bound = bind(function.__name__, shape, args, options)
            for name, value in bound.arguments.items():
                bound.arguments[name] = check_argument(spell(name), value, shape.parameters[name])
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def check_argument(name: str, value: object, parameter: Parameter) -> object:
    """An argument as an option has it. Raises a ValueError for one of another type than annotated."""
    if parameter.kind is Parameter.KEYWORD_ONLY or parameter.annotation is Parameter.empty:
        return value
    frozen = freeze(value)
    check_type(name, frozen, parameter.annotation)
    return frozen


def bind(name: str, shape: Signature, args: tuple[Any, ...], options: dict[str, Any]) -> BoundArguments:
    """A function's arguments by name. Raises a TypeError that says what it lacks, or what it does not take."""
    known = list(shape.parameters)
    for option in options:
        if option not in known:
            raise TypeError(f"{name}() has no argument {option}; nearest: {suggest(option, known)}")
    try:
        return shape.bind(*args, **options)
    except TypeError as error:
        raise TypeError(f"{name}(): {error}") from None
