"""Frozen options as the command line has them: fields become options of a parser, parsed words become values."""

from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar, get_type_hints

from jsonargparse import SUPPRESS, ArgumentParser, Namespace

from ablations.cli.help import find_group
from ablations.cli.values import MISSED, ListReader, Reader, read_number, shorten_text
from ablations.fields import Options
from ablations.hints import name_types
from convnext_path.files import parse_json

T = TypeVar("T", bound=Options)

FOLDERS = ("root", "study", "bench")  # options that take one


def add_options(
    parser: ArgumentParser,
    kind: type[Options],
    without: Collection[str] = (),
    hidden: Collection[str] = (),
    grouped: bool = True,
) -> None:
    """Add an option for each field, the class's own before those of its base, and for those of fields within fields.

    Each stands in its group of the help, if they are ``grouped``, but for those that are ``hidden`` there.
    """
    own = vars(kind)["__annotations__"]
    for f in sorted(list_options(kind, without), key=lambda f: f.name not in own):
        if isinstance(f.default, Options):
            add_options(parser, type(f.default))
        else:
            help = SUPPRESS if f.name in hidden else f.metadata["help"]
            group = find_group(parser, f"{kind.prefix}{f.name}") if grouped else parser
            group.add_argument(kind.spell(f.name), help=help, **describe_option(kind, f))


def list_options(kind: type[Options], without: Collection[str] = ()) -> list[Field[Any]]:
    """The fields that are typed."""
    return [f for f in fields(kind) if f.metadata["typed"] and f.name not in without]


def describe_option(kind: type[Options], f: Field[Any]) -> dict[str, Any]:
    """What a parser is told of a field: a switch, or an option with a type. Switches have no prefix."""
    hint = get_type_hints(kind)[f.name]
    if hint is bool and not kind.prefix:
        return {"action": "store_true"}
    more = {"required": True} if f.default is MISSING else {"default": write_words(f.default)}
    if form := f.metadata["form"]:
        return {"type": ListReader(int | str), "metavar": form, **more}
    reader = Reader(str if f.metadata["choices"] else hint)
    return {"type": reader, "metavar": name_value(f, reader), **more}


def name_value(f: Field[Any], reader: Reader) -> str:
    """What stands for an option's value in the help."""
    if f.name in FOLDERS or f.metadata["choices"]:
        return "FOLDER" if f.name in FOLDERS else "NAME"
    return {"int": "N", "float": "NUMBER", "bool": "true|false"}.get(name_types(reader.hint)[0], "VALUE")


def write_words(value: Any) -> Any:
    """A default as it would be typed: a tuple with commas; None where nothing would be."""
    return ",".join(map(str, value)) or None if isinstance(value, tuple) else value


def read_options(kind: type[T], args: Namespace, without: Collection[str] = ()) -> T:
    """The values that were typed. Raises a ValueError for whatever is wrong with them."""
    return kind(**{f.name: read_value(kind, f, args[f.name]) for f in list_options(kind, without)})


def read_value(kind: type[Options], f: Field[Any], word: Any) -> Any:
    """A field's value. What a parser lets through that is none can only be in a config file."""
    if isinstance(f.default, Options):
        if not isinstance(word, Namespace):
            raise ValueError(f"{f.name} takes options of its own, got {word!r}")
        return read_options(type(f.default), word)
    if isinstance(f.default, bool) and not isinstance(word, bool):
        raise ValueError(f"{kind.spell(f.name)} takes true or false, got {word!r}")
    if not f.metadata["form"]:
        return word
    if word is None and write_words(f.default) is None:
        return f.default
    return READERS[f.name](f.name, str(word))


def read_names(name: str, text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def read_numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"--{name} takes numbers separated by commas, got {text!r}") from None


def read_seeds(name: str, text: str) -> int | tuple[int, ...]:
    """3 is a number of seeds; 5,7 are two of them."""
    words = read_names(name, text)
    numbers = tuple(read_number(int, word) for word in words)
    if MISSED in numbers:
        raise ValueError(f"--{name} takes a number of seeds, or seeds separated by commas, got {shorten_text(text)!r}")
    return numbers[0] if len(numbers) == 1 else numbers


def read_flips(name: str, text: str) -> tuple[tuple[str, object], ...]:
    """FLAG=VALUE,...: values are true, false, numbers or words."""
    return tuple((flag, read_json(value)) for flag, value in read_pairs(name, text, "FLAG=VALUE"))


def read_files(name: str, text: str) -> tuple[tuple[str, str], ...]:
    """MODEL=FILE,..."""
    return read_pairs(name, text, "MODEL=FILE")


def read_pairs(name: str, text: str, form: str) -> tuple[tuple[str, str], ...]:
    """Pairs of words with a sign between them. Raises a ValueError for what is not of such a ``form``."""
    pairs = []
    for word in text.split(","):
        first, _, second = map(str.strip, word.partition("="))
        if not second:
            raise ValueError(f"--{name} takes {form}, got {word!r}")
        pairs.append((first, second))
    return tuple(pairs)


def read_json(word: str) -> object:
    """A number, true or false, in whatever case; else the word itself, lists and mappings too."""
    try:
        value: object = parse_json(word.lower().encode())
    except ValueError:
        return word
    return word if isinstance(value, list | dict) else value


def read_counts(name: str, text: str) -> tuple[int, ...]:
    """Numbers from 1 to 100,000."""
    counts = tuple(read_number(int, word) for word in read_names(name, text))
    if not all(count is not MISSED and 0 < count <= 100_000 for count in counts):
        allowed = "numbers of devices from 1 to 100000, separated by commas"
        raise ValueError(f"--at-once takes {allowed}, got {shorten_text(text)!r}")
    return counts


def read_peers(name: str, text: str) -> tuple[str, ...]:
    """Names, or none."""
    return () if text == "none" else read_names(name, text)


#: What reads the words of a field that is typed otherwise than it is.
READERS: dict[str, Callable[[str, str], Any]] = {
    "rungs": read_names,
    "references": read_names,
    "models": read_names,
    "flip": read_flips,
    "weights": read_files,
    "seeds": read_seeds,
    "mean": read_numbers,
    "std": read_numbers,
    "at_once": read_counts,
    "against": read_peers,
    "precision": read_names,
}
