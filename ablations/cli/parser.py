"""The command line: what may be said, and one line about what may not."""

import argparse
import difflib
import re
import sys
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
import yaml

from ablations.bench.request import BenchRequest
from ablations.cli.errors import fail
from ablations.cli.options import add_options
from ablations.cli.values import Reader, check_config, load_config
from ablations.engines.resources import Resources
from ablations.planning.profiles import Machine
from ablations.study.keeping import MODES, Keeping
from ablations.study.request import LadderRequest, ModelsRequest, Request
from ablations.study.trainer import TrainerOptions
from convnext_path import LADDERS
from convnext_path.files import read_regular
from convnext_path.ladder import FAMILIES

FORMATS = ("table", "csv", "json")
LARGEST = 2**16  # bytes of a config file

jsonargparse.set_loader("text", load_config, (yaml.YAMLError,))


class Parser(jsonargparse.ArgumentParser):
    """A parser whose errors are one line: what was wrong, and what is allowed or nearest."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, parser_mode="text", **kwargs)

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
        wrong = re.search(r'key "([\w.]+)": (takes .*)', message, re.DOTALL)
        action = next((a for a in parser._actions if wrong and a.dest == wrong[1]), None)
        if typed := re.fullmatch(r"argument (--[\w.-]+)(?:/-\w+)?: (takes .*)", message, re.DOTALL):
            fail(f"{typed[1]} {typed[2]}")
        fail(f"{action.option_strings[0]} {wrong[2]}" if wrong and action else message)


class ConfigFile(jsonargparse.ActionConfigFile):  # type: ignore[name-defined]  # not in its list of names
    """Takes the name of a small YAML file; nothing else is opened, and a config itself is not typed."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        file = Path(values).expanduser()
        try:
            check_config(read_regular(file, LARGEST).decode())
        except OSError as error:
            parser.error(f"--config {values} cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            parser.error(f"--config {values} is no YAML: {error}")
        except ValueError as error:
            parser.error(f"--config {values} {error}")
        super().__call__(parser, cfg, str(file), option_string)


def fail_unknown(option: str, options: Collection[str]) -> NoReturn:
    near = difflib.get_close_matches(option, options, n=1)
    fail(f"unknown option {option}; {f'did you mean {near[0]}?' if near else 'see --help'}")


def make_parser() -> Parser:
    parser = Parser(prog="python -m ablations", description="Train a ladder, count its costs, look after a study.")
    parser.add_argument("--version", action="version", version=f"convnext-path {version('convnext-path')}")
    commands = parser.add_subcommands(required=True)
    commands.add_subcommand("run", make_run_parser(), help="train a ladder over seeds and draw its charts")
    commands.add_subcommand("compare", make_compare_parser(), help="train networks by name on the same images")
    commands.add_subcommand("plan", make_plan_parser(), help="what a run would take: hours, memory, disk, money")
    commands.add_subcommand("prepare", make_prepare_parser(), help="make a stream of a folder of images")
    commands.add_subcommand("cost", make_cost_parser(), help="count each rung's costs; trains nothing")
    commands.add_subcommand("status", make_study_parser(), help="what of a study is done, and what a run would do")
    commands.add_subcommand("verify", make_verify_parser(), help="check a study's digests; train a trial again")
    commands.add_subcommand("plot", make_drawing_parser(), help="draw a study's table and charts from its records")
    commands.add_subcommand("report", make_drawing_parser(), help="the same, and a page of it all: report.html")
    commands.add_subcommand(
        "wandb", make_sending_parser(), help="send a study to W&B from its records, or send it again"
    )
    commands.add_subcommand("bench", make_bench_parser(), help="measure speed and memory, beside torchvision and timm")
    return parser


def make_run_parser() -> Parser:
    return make_training_parser(LadderRequest)


def make_compare_parser() -> Parser:
    return make_training_parser(ModelsRequest, without=["keep"])  # it always does


def make_plan_parser() -> Parser:
    parser = make_run_parser()
    add_options(parser, Machine)
    return parser


def make_training_parser(request: type[Request], without: Collection[str] = ()) -> Parser:
    """Options of what is trained, on what, how and where."""
    parser = Parser()
    parser.add_argument("--config", action=ConfigFile, help="a YAML file of options, as --print_config gives it")
    add_options(parser, request, without=["trainer"])
    for kind in (Keeping, Resources, TrainerOptions):
        add_options(parser, kind, without)
    return parser


def make_prepare_parser() -> Parser:
    parser = Parser()
    add = parser.add_argument
    add("--root", type=Reader(str), required=True, help="folder of the images, as --data imagefolder takes it")
    add(
        "--out", type=Reader(str), required=True, help="where the stream goes: a new folder, or a URL of object storage"
    )
    add("--workers", type=Reader(int), default=4, help="processes that write")
    add("--skip-bad-images", action="store_true", help="leave out files that cannot be decoded")
    return parser


def make_cost_parser() -> Parser:
    parser = Parser()
    add = parser.add_argument
    names = f"one of {', '.join(LADDERS)}, or {', '.join(FAMILIES)}"
    add("--ladder", type=Reader(str | None), default=None, help=f"{names} (default: convnext-t and convnext-b)")
    add("--image-size", type=Reader(int), default=224, help="side in pixels")
    add("--format", type=Reader(str), default="table", help=f"one of {', '.join(FORMATS)}")
    return parser


def make_study_parser() -> Parser:
    parser = Parser()
    parser.add_argument("study", type=Reader(str), help="a study's folder")
    return parser


def make_drawing_parser() -> Parser:
    parser = make_study_parser()
    parser.add_argument("--partial", action="store_true", help="leave out records that are damaged or do not belong")
    return parser


def make_sending_parser() -> Parser:
    parser = make_drawing_parser()
    parser.add_argument("--mode", type=Reader(str), default="online", help=f"one of {', '.join(MODES[1:])}")
    return parser


def make_verify_parser() -> Parser:
    parser = make_study_parser()
    parser.add_argument(
        "--trial", type=Reader(str | None), default=None, help="train this one again: its id, or RUNG:SEED"
    )
    again = "repeat every trial's first steps, and a whole one: where all give the same, records hold for today's code"
    parser.add_argument("--again", action="store_true", help=again)
    return parser


def make_bench_parser() -> Parser:
    parser = Parser()
    add_options(parser, BenchRequest)
    add = parser.add_argument
    add("--overhead", action="store_true", help="instead: a trial on digits beside a bare loop, --repeats times")
    add("--scaling", action="store_true", help="instead: trials of 10 x --seconds, 1, 2, 4 at a time, by engine")
    add(
        "--out",
        type=Reader(str | None),
        default=None,
        help="folder of the results (default: results/bench-LADDER-DEVICE)",
    )
    return parser
