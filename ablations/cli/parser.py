"""The command line: what may be said, and one line about what may not."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin

import jsonargparse
import pytorch_lightning as pl
import yaml

from ablations.cli.options import DATA
from ablations.console import fail
from ablations.planning.throughput import PROFILES
from ablations.training.run import TRAINER
from ablations.training.wandb_log import MODES
from convnext_path import LADDERS, RECIPES
from convnext_path.ladder import FAMILIES
from convnext_path.networks.peer_names import PACKAGES
from convnext_path.references import REFERENCES

FORMATS = ("table", "csv", "json")
ENGINES = ("local", "ray")

#: Options of the Lightning trainer that the driver sets itself, or that make no sense here.
OURS = {
    "accelerator", "strategy",  # added as words
    "barebones", "callbacks", "default_root_dir", "enable_autolog_hparams", "enable_checkpointing",
    "enable_model_summary", "enable_progress_bar", "fast_dev_run", "logger", "max_epochs", "max_steps", "max_time",
    "min_epochs", "min_steps", "model_registry", "plugins", "profiler", "reload_dataloaders_every_n_epochs",
    "overfit_batches", "limit_test_batches", "limit_predict_batches", "use_distributed_sampler",
}  # fmt: skip


class Parser(jsonargparse.ArgumentParser):
    """A parser whose errors are one line: what was wrong, and what is allowed or nearest."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

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
        wrong = re.search(r'key "([\w.]+)":.*(?:Given|Got) value: (.*)', message, re.DOTALL)
        action = next((a for a in parser._actions if wrong and a.dest == wrong[1]), None)
        if wrong and action:
            allowed = " or ".join(dict.fromkeys(name_types(vars(action)["_typehint"])))
            fail(f"{action.option_strings[0]} takes {allowed}, got {wrong[2]!r}")
        fail(message)

    def parse_path(self, cfg_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Parse a config file: a mapping without aliases, a few lines of which can stand for gigabytes."""
        try:
            kinds = [type(event) for event in yaml.parse(Path(cfg_path).read_text())]
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            self.error(f"--config {cfg_path} is no YAML: {error}")
        if kinds[2:3] != [yaml.MappingStartEvent]:  # after the starts of stream and document
            self.error(f"--config {cfg_path} holds no options; --print_config shows how they are written")
        if yaml.AliasEvent in kinds:
            self.error(f"--config {cfg_path} has aliases; write the values out")
        return super().parse_path(cfg_path, *args, **kwargs)


def fail_unknown(option: str, options: Collection[str]) -> NoReturn:
    near = difflib.get_close_matches(option, options, n=1)
    fail(f"unknown option {option}; {f'did you mean {near[0]}?' if near else 'see --help'}")


def name_types(hint: Any) -> list[str]:
    """What an option takes: names of types, and the values of literals."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    return [n for part in get_args(hint) if part is not NoneType for n in name_types(part)] or [hint.__name__]


def make_parser() -> Parser:
    parser = Parser(prog="python -m ablations", description="Train a ladder, count its costs, look after a study.")
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
    return make_training_parser(add_rungs)


def make_compare_parser() -> Parser:
    parser = make_training_parser(add_models)
    parser.set_defaults(seeds=1)
    return parser


def add_rungs(add: Callable[..., Any]) -> None:
    """Options of a ladder and what stands beside it."""
    families = f"or {', '.join(FAMILIES)}: the nano one, on ImageNet the other"
    add("--ladder", type=str, default="convnext-nano", help=f"one of {', '.join(LADDERS)}; {families}")
    add("--rungs", type=str, default=None, help="only these, by name, comma-separated (default: all)")
    add(
        "--flip",
        type=str,
        default=None,
        help="FLAG=VALUE,...: the last of them once more with each changed",
    )
    beside = ", ".join([*REFERENCES, *(f"{package}:NAME" for package in PACKAGES)])
    add("--references", type=str, default=None, help=f"trained beside: {beside}")
    add("--keep", action="store_true", help="weights and answers: confusions and images with answers on the page")


def add_models(add: Callable[..., Any]) -> None:
    """Options of networks by name."""
    names = "comma-separated: torchvision's, timm's, or of our references"
    add("--models", type=str, required=True, help=f"{names}; torchvision:NAME and timm:NAME say whose")
    add("--pretrained", action="store_true", help="begin with published weights, downloaded if need be")
    add("--weights", type=str | None, default=None, help="MODEL=FILE,...: begin with a file's")


def make_training_parser(add_networks: Callable[[Callable[..., Any]], None]) -> Parser:
    """Options of what is trained, on what, how and where."""
    parser = Parser()
    add = parser.add_argument
    add("--config", action="config", help="a YAML file of options, as --print_config gives it")
    add_networks(add)
    add_data(add)
    add("--recipe", type=str | None, default=None, help=f"one of {', '.join(RECIPES)} (default: the data set's)")
    add("--epochs", type=int | None, default=None, help="of each recipe; of the original in proportion")
    add("--batch-size", type=int | None, default=None, help="the learning rate is scaled to it")
    add("--lr", type=float | None, default=None, help="of each recipe but the original, at its own batch size")
    add("--seeds", type=int | str, default=3, help="3 means 0, 1, 2; 5,7 means those")
    add("--precision", type=str | None, default=None, help="short for --trainer.precision, such as bf16-mixed")
    add(
        "--study",
        type=str | None,
        default=None,
        help="folder of the results (default: results/LADDER-DATA, or comparison-DATA)",
    )
    add("--wandb", type=str, default="offline", help=f"one of {', '.join(MODES)}")
    add("--workers", type=int | Literal["auto"], default="auto", help="trials at a time (auto: by cores; 1 on a GPU)")
    add_engine(add)
    add("--threads", type=int, default=1, help="of a trial on the CPU; another number gives other bits")
    add("--compile", action="store_true", help="each network, for a minute or more: pays in long trials; other bits")
    add("--loader-workers", type=int | None, default=None, help="processes that read images (default: by cores)")
    add("--join", action="store_true", help="take trials of a study that another driver trains")
    add("--keep-stale", action="store_true", help="records of other code, versions or data count as done")
    add("--dry-run", action="store_true", help="show the plan and the estimate, then stop")
    parser.add_class_arguments(pl.Trainer, "trainer", skip=OURS, instantiate=False)
    for name in ("accelerator", "strategy"):  # as words alone: Lightning's own types would import a class by its path
        add(f"--trainer.{name}", type=str, default="auto", help="as Lightning names them; strategies: auto, ddp")
    parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER.items()})
    return parser


def add_data(add: Callable[..., Any]) -> None:
    """Options of the images."""
    add("--data", type=str, default="digits", help=f"one of {', '.join(DATA)}")
    add("--root", type=str | None, default=None, help="folder of the images, or where downloads go (if not said: data)")
    add("--image-size", type=int | None, default=None, help="side in pixels (default: the data set's own)")
    add("--limit-train", type=int | None, default=None, help="keep so many training images, stratified")
    add("--holdout", type=float, default=0.0, help="validate on this share of the training images")
    add("--mean", type=str | None, default=None, help="of the channels, comma-separated (default: the data set's own)")
    add("--std", type=str | None, default=None, help="likewise")
    add("--skip-bad-images", action="store_true", help="leave files that cannot be decoded out of a folder")


def add_engine(add: Callable[..., Any]) -> None:
    """Options of where trials run."""
    add("--engine.name", type=str, default="local", help=f"short: --engine; where trials run: {' or '.join(ENGINES)}")
    add("--engine.address", type=str | None, default=None, help="of a Ray cluster (default: one on this machine)")
    add("--engine.cpus", type=float | None, default=None, help="that a trial takes of Ray's (default: its threads)")
    add(
        "--engine.gpus",
        type=float | None,
        default=None,
        help="likewise; 0.25: four share one (default: 1 a process, if any)",
    )


def make_plan_parser() -> Parser:
    parser = make_run_parser()
    add = parser.add_argument
    add("--bench", type=str | None, default=None, help="a benchmark's folder, for its machine (default: measure here)")
    add("--profile", type=str | None, default=None, help="a GPU that others measured: " + ", ".join(PROFILES))
    add("--at-once", type=str, default="1,8,64", help="devices (of a CPU: trials) at a time, comma-separated")
    add("--price", type=float | None, default=None, help="of a device, an hour")
    add("--memory", type=float | None, default=None, help="of a device, GB (default: of this machine's)")
    return parser


def make_prepare_parser() -> Parser:
    parser = Parser()
    add = parser.add_argument
    add("--root", type=str, required=True, help="folder of the images, as --data imagefolder takes it")
    add("--out", type=str, required=True, help="where the stream goes: a new folder, or a URL of object storage")
    add("--workers", type=int, default=4, help="processes that write")
    add("--skip-bad-images", action="store_true", help="leave out files that cannot be decoded")
    return parser


def make_cost_parser() -> Parser:
    parser = Parser()
    add = parser.add_argument
    names = f"one of {', '.join(LADDERS)}, or {', '.join(FAMILIES)}"
    add("--ladder", type=str | None, default=None, help=f"{names} (default: convnext-t and convnext-b)")
    add("--image-size", type=int, default=224, help="side in pixels")
    add("--format", type=str, default="table", help=f"one of {', '.join(FORMATS)}")
    return parser


def make_study_parser() -> Parser:
    parser = Parser()
    parser.add_argument("study", type=str, help="a study's folder")
    return parser


def make_drawing_parser() -> Parser:
    parser = make_study_parser()
    parser.add_argument("--partial", action="store_true", help="leave out records that are damaged or do not belong")
    return parser


def make_sending_parser() -> Parser:
    parser = make_drawing_parser()
    parser.add_argument("--mode", type=str, default="online", help=f"one of {', '.join(MODES[1:])}")
    return parser


def make_verify_parser() -> Parser:
    parser = make_study_parser()
    parser.add_argument("--trial", type=str | None, default=None, help="train this one again: its id, or RUNG:SEED")
    return parser


def make_bench_parser() -> Parser:
    parser = Parser()
    add = parser.add_argument
    add("--ladder", type=str, default="convnext-t", help=f"one of {', '.join(LADDERS)}")
    add("--rungs", type=str, default=None, help="only these, by name, comma-separated (default: all)")
    add("--against", type=str, default="torchvision,timm", help="peers, where they have the same network; or none")
    add("--device", type=str | None, default=None, help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    add("--precision", type=str, default="fp32,bf16", help="bf16: autocast over fp32 weights")
    add("--image-size", type=int, default=224, help="side in pixels")
    add("--batch-size", type=int, default=32, help="of training and inference")
    add("--repeats", type=int, default=5, help="rounds, in which all take turns; the median counts")
    add("--seconds", type=float, default=1.0, help="that each turn takes at least")
    add("--compile", action="store_true", help="compile our networks too, as the peers' are")
    add("--overhead", action="store_true", help="instead: a trial on digits beside a bare loop, --repeats times")
    add("--scaling", action="store_true", help="instead: trials of 10 x --seconds, 1, 2, 4 at a time, by engine")
    add("--out", type=str | None, default=None, help="folder of the results (default: results/bench-LADDER-DEVICE)")
    return parser
