"""The command line: what may be said, and one line about what may not."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
import yaml
from jsonargparse import SUPPRESS

from ablations.bench.request import BenchRequest
from ablations.cli.errors import fail
from ablations.cli.help import PROGRAM, Help, describe_word, show_words
from ablations.cli.options import add_options, list_options
from ablations.cli.values import Reader, load_config
from ablations.engines.resources import Resources
from ablations.planning.profiles import Machine
from ablations.study.keeping import Keeping
from ablations.study.request import LadderRequest, ModelsRequest, Request
from ablations.study.trainer import TrainerOptions
from convnext_path import LADDERS
from convnext_path.files import read_regular
from convnext_path.ladder import FAMILIES
from convnext_path.words import join

FORMATS = ("table", "csv", "json")
LARGEST = 2**16  # bytes of a config file
NEGATIVE = re.compile(r"-[.\d][\d.eE+-]*")  # words that are values, not options

jsonargparse.set_loader("text", load_config, (yaml.YAMLError,))


class Parser(jsonargparse.ArgumentParser):
    """A parser whose errors are one line: what was wrong, and what is allowed or nearest."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, parser_mode="text", formatter_class=Help, **kwargs)
        self._negative_number_matcher = NEGATIVE

    def parse_args(self, args: Any = None, *more: Any, **options: Any) -> Any:
        """``--engine NAME`` is ``--engine.name NAME``."""
        words = sys.argv[1:] if args is None else args
        words = [re.sub(r"^--engine(?==|$)", "--engine.name", word) for word in words]
        return super().parse_args(words, *more, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        parser = getattr(ex, "subcommand_parser", None) or self
        if unknown := re.search(r"nrecognized arguments:.*?(--?[\w.-]+)", message):
            fail_unknown(unknown[1], parser._option_string_actions)
        if unknown := re.search(r"does not accept option '([^']+)'", message):  # in a config file
            fail_unknown(unknown[1], [a.dest for a in parser._actions if a.default != argparse.SUPPRESS])
        if missing := re.search(r"arguments are required: (\w+)\.(\w+)", message):
            fail(f"{missing[1]} needs {missing[2]}; see python -m ablations {missing[1]} --help")
        if alone := re.fullmatch(r"argument (--[\w.-]+)(?:/-\w+)?: expected one argument", message):
            fail(f"{alone[1]} needs a value; write one that begins with a dash as {alone[1]}=VALUE")
        wrong = re.search(r'key "([\w.]+)": (takes .*)', message, re.DOTALL)
        action = next((a for a in parser._actions if wrong and a.dest == wrong[1]), None)
        if typed := re.fullmatch(r"argument (--[\w.-]+)(?:/-\w+)?: (takes .*)", message, re.DOTALL):
            fail(f"{typed[1]} {typed[2]}")
        fail(f"{action.option_strings[0]} {wrong[2]}" if wrong and action else message)


class ConfigFile(jsonargparse.ActionConfigFile):  # type: ignore[name-defined]  # not in its list of names
    """Takes the name of a small YAML file; nothing else is opened, and a config itself is not typed."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        file = Path(values)
        try:
            file = file.expanduser()
            load_config(read_regular(file, LARGEST).decode())
        except RuntimeError:
            parser.error(f"--config {values} cannot be read: there is no such user")
        except OSError as error:
            parser.error(f"--config {values} cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            parser.error(f"--config {values} is not valid YAML: {error}")
        except (ValueError, yaml.YAMLError) as error:
            parser.error(f"--config {values}: {error}")
        super().__call__(parser, cfg, str(file), option_string)


def fail_unknown(option: str, options: Collection[str]) -> NoReturn:
    if words := find_words(option):
        fail(f"{option} is not an option of this command; it belongs to {join(words, 'and')}")
    near = difflib.get_close_matches(option, options, n=1)
    fail(f"unknown option {option}; {f'did you mean {near[0]}?' if near else 'see --help'}")


def find_words(option: str) -> list[str]:
    """The words that take an option, as it is typed or as a config has it."""
    actions = {word: [a for a in make()._actions if a.help != SUPPRESS] for word, make in PARSERS.items()}
    names = {word: {name for a in there for name in (a.dest, *a.option_strings)} for word, there in actions.items()}
    return [word for word, there in names.items() if option in there - {"help", "config", "print_config"}]


class Front(Parser):
    """The parser of words."""

    def format_help(self, formatter: Any = None) -> str:
        return show_words()


def make_parser() -> Parser:
    parser = Front(prog=PROGRAM)
    parser.add_argument("--version", action="version", version=f"convnext-path {version('convnext-path')}")
    commands = parser.add_subcommands(required=True)
    for word, make in PARSERS.items():
        commands.add_subcommand(word, describe(make(), word))
    return parser


def describe(parser: Parser, word: str) -> Parser:
    """Tell a word's parser what its help says around the options."""
    for name, text in describe_word(word).items():
        setattr(parser, name, text)
    return parser


def make_run_parser() -> Parser:
    return make_training_parser(LadderRequest)


def make_compare_parser() -> Parser:
    return make_training_parser(ModelsRequest, without=["keep"])  # it always does


def make_plan_parser() -> Parser:
    """A run's options and a machine's; those of what is kept are taken from a run's config, and are of no use here."""
    parser = make_training_parser(LadderRequest, hidden=[f.name for f in list_options(Keeping)])
    add_options(parser, Machine)
    return parser


def make_training_parser(request: type[Request], without: Collection[str] = (), hidden: Collection[str] = ()) -> Parser:
    """Options of what is trained, on what, how and where; the help does not show those that are ``hidden``."""
    parser = Parser()
    parser.add_argument(
        "--config", action=ConfigFile, help="read options from a YAML file in the format that --print_config prints"
    )
    add_options(parser, request, without=["trainer"])
    for kind in (Resources, Keeping, TrainerOptions):
        add_options(parser, kind, without, hidden)
    return parser


def make_prepare_parser() -> Parser:
    parser = Parser()
    add = parser.add_argument
    add(
        "--root",
        type=Reader(str),
        required=True,
        help="folder of the images, as for --data imagefolder (required)",
    )
    add(
        "--out",
        type=Reader(str),
        required=True,
        help="new folder for the stream, or a URL of object storage (required)",
    )
    add("--workers", type=Reader(int), default=4, help="processes that write the stream")
    add("--skip-bad-images", action="store_true", help="leave out image files that cannot be decoded")
    return parser


def make_cost_parser() -> Parser:
    parser = Parser()
    add = parser.add_argument
    names = f"ladder to count: {', '.join(LADDERS)}, or a family ({', '.join(FAMILIES)})"
    add("--ladder", type=Reader(str | None), default=None, help=f"{names} (default: convnext-t and convnext-b)")
    add("--image-size", type=Reader(int), default=224, help="height and width of the images in pixels")
    add("--format", type=Reader(str), default="table", help=f"output format: {join(FORMATS)}")
    return parser


def make_study_parser() -> Parser:
    parser = Parser()
    parser.add_argument("study", type=Reader(str), help="folder of the study")
    return parser


def make_drawing_parser() -> Parser:
    parser = make_study_parser()
    parser.add_argument(
        "--partial", action="store_true", help="leave out records that are damaged or do not belong to the study"
    )
    return parser


def make_sending_parser() -> Parser:
    parser = make_drawing_parser()
    parser.add_argument(
        "--mode",
        type=Reader(str),
        default="online",
        help="online: send now; offline: write files for wandb sync to send later",
    )
    return parser


def make_verify_parser() -> Parser:
    parser = make_study_parser()
    parser.add_argument(
        "--trial",
        type=Reader(str | None),
        default=None,
        help="train one trial again and compare the results; give its id, or RUNG:SEED",
    )
    again = (
        "repeat the first steps of every trial, and one whole trial. If all results match, the records hold for "
        "today's code"
    )
    parser.add_argument("--again", action="store_true", help=again)
    return parser


def make_bench_parser() -> Parser:
    parser = Parser()
    add_options(parser, BenchRequest, grouped=False)
    add = parser.add_argument
    add(
        "--overhead",
        action="store_true",
        help="instead: compare the time of a trial on digits with a bare training loop, --repeats times",
    )
    add(
        "--scaling",
        action="store_true",
        help="instead: time trials of 10 x --seconds each, with 1, 2 and 4 at a time, on each engine",
    )
    add(
        "--out",
        type=Reader(str | None),
        default=None,
        help="folder for the results (default: results/bench-LADDER-DEVICE)",
    )
    return parser


PARSERS: dict[str, Callable[[], Parser]] = {
    "run": make_run_parser,
    "compare": make_compare_parser,
    "plan": make_plan_parser,
    "prepare": make_prepare_parser,
    "cost": make_cost_parser,
    "status": make_study_parser,
    "verify": make_verify_parser,
    "plot": make_drawing_parser,
    "report": make_drawing_parser,
    "wandb": make_sending_parser,
    "bench": make_bench_parser,
}
