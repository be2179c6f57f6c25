"""From the command line's options to a plan, everything wrong with them found before any work."""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from inspect import signature
from typing import Any

from jsonargparse import Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer

from ablations.study.trial import Options, Plan, Trial
from ablations.training.provenance import origin
from ablations.training.run import TRAINER, make_module, make_trainer, network_cost
from convnext_path import LADDERS, RECIPES, Recipe, Rung
from convnext_path.data.datasets import open_data
from convnext_path.data.module import PathData
from convnext_path.data.selection import Data
from convnext_path.frozen import above, at_least, choose, within
from convnext_path.ladder import choose_ladder, flip, select_rungs
from convnext_path.networks.peer_names import PeerFlags
from convnext_path.references import find_model, find_reference

#: Data sets, and the recipes that suit them unless --recipe says otherwise.
DATA = {"digits": "digits", "cifar10": "cifar", "cifar100": "cifar", "imagefolder": "cifar", "imagenet": "imagenet"}

#: Beyond these, what follows would overflow or never end.
MAX_IMAGE_SIZE = 4096
RANGES = {
    "epochs": (1, 1_000_000),
    "image_size": (1, MAX_IMAGE_SIZE),
    "loader_workers": (0, 1024),
    "threads": (1, 1024),
}

#: Trainer options that Lightning takes below these, and then fails or does nothing of use.
LEAST = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "log_every_n_steps": 0, "num_sanity_val_steps": -1}
STRATEGIES = ("auto", "ddp")  # others cut a network into pieces, or start processes that we start
POSITIVE = ("limit_train_batches", "limit_val_batches", "val_check_interval", "gradient_clip_val")


def make_plan(args: Any) -> Plan:
    """What the options ask for: a comparison of ``models`` where there are any, or rungs of a ladder.

    Raises:
        ValueError: whatever is wrong with the options.
    """
    check_ranges(args)
    choose("data set", args.data, DATA)
    title, rungs = choose_models(args) if "models" in args else choose_rungs(args)
    family = RECIPES[choose("recipe", DATA[args.data] if args.recipe is None else args.recipe, RECIPES)]
    names = sorted({rung.recipe for rung in rungs})
    trained = 224 if "finetune" in names else None  # the side that most published weights have seen
    data = Data(
        args.data,
        root=args.root,
        image_size=trained if args.image_size is None else args.image_size,
        limit_train=args.limit_train,
        holdout=args.holdout,
        mean=parse_numbers("mean", args.mean),
        std=parse_numbers("std", args.std),
        skip_bad_images=args.skip_bad_images,
    )
    return Plan(
        title,
        rungs,
        parse_seeds(args.seeds),
        data,
        tuple((name, adapt_recipe(family, name, args)) for name in names),
        parse_trainer(args.trainer, args.precision),
        args.threads,
        args.compile,
    )


def choose_rungs(args: Any) -> tuple[str, tuple[Rung, ...]]:
    """The ladder's name; those of its rungs that are asked for, flips, references."""
    title = choose_ladder(args.ladder, small=DATA[args.data] != "imagenet")
    ladder = LADDERS[title]
    rungs = select_rungs(ladder, args.rungs.split(",")) if args.rungs is not None else ladder
    if args.flip is not None:
        rungs += tuple(dict.fromkeys(parse_flip(rungs[-1], text) for text in args.flip.split(",")))
    if args.references is not None:
        rungs += tuple(find_reference(word) for word in dict.fromkeys(args.references.split(",")))
    return title, rungs


def choose_models(args: Any) -> tuple[str, tuple[Rung, ...]]:
    """What a study without a ladder is called, and its networks, each with the weights that it begins with."""
    models = dict.fromkeys(word.strip() for word in args.models.split(","))
    files = parse_files(args.weights, models)
    return "comparison", tuple(find_model(m, pretrained=args.pretrained, file=files.get(m)) for m in models)


def parse_files(text: str | None, models: Collection[str]) -> dict[str, str]:
    """MODEL=FILE,... as files by model."""
    files = {}
    for word in text.split(",") if text is not None else ():
        model, _, file = map(str.strip, word.partition("="))
        if not file:
            raise ValueError(f"--weights takes MODEL=FILE, got {word!r}")
        if choose("model in --weights", model, models) in files:
            raise ValueError(f"--weights has two files for {model}")
        files[model] = file
    return files


def check_ranges(args: Any) -> None:
    """Refuse what the parser lets through; the first two can only be in a config file."""
    if not isinstance(args.dry_run, bool):
        raise ValueError(f"--dry-run takes true or false, got {args.dry_run!r}")
    for name in ("trainer", "engine"):
        if not isinstance(getattr(args, name), Namespace):
            raise ValueError(f"{name} takes options of its own, got {getattr(args, name)!r}")
    for name, limits in RANGES.items():
        if (value := getattr(args, name)) is not None:
            within(f"--{name.replace('_', '-')}", value, *limits)
    if args.workers != "auto":
        within("--workers", args.workers, 1, 1024)


def parse_seeds(seeds: int | str) -> tuple[int, ...]:
    """3 or "3" is (0, 1, 2); "5,7" is (5, 7)."""
    words = [word.strip() for word in str(seeds).split(",")]
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise ValueError(f"--seeds takes a number of seeds, or seeds separated by commas, got {seeds!r}")
    numbers = [int(word) for word in words]
    within("each of --seeds", max(numbers), 0, 2**32 - 1)
    if len(numbers) == 1:
        within("--seeds", numbers[0], 1, 1000)
        return tuple(range(numbers[0]))
    return tuple(sorted(set(numbers)))


def parse_numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    """Numbers separated by commas."""
    try:
        numbers = None if text is None else tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"--{name} takes numbers separated by commas, got {text!r}") from None
    if not all(map(math.isfinite, numbers or ())):
        raise ValueError(f"--{name} takes finite numbers, got {text!r}")
    return numbers


def parse_flip(rung: Rung, text: str) -> Rung:
    """FLAG=VALUE as a rung beside ``rung``; the value is true, false, a number or a word."""
    flag, _, value = map(str.strip, text.partition("="))
    if not value:
        raise ValueError(f"--flip takes FLAG=VALUE, got {text!r}")
    try:
        chosen = json.loads(value.lower())
    except json.JSONDecodeError:
        chosen = value
    try:
        return flip(rung, flag, chosen)
    except ValueError as error:
        raise ValueError(f"--flip {text}: {error}") from None


def parse_trainer(chosen: Any, precision: str | None = None) -> Options:
    """The trainer's options that differ from what the driver takes for granted."""
    usual = {name: p.default for name, p in signature(Trainer).parameters.items()} | TRAINER
    options = {name: value for name, value in vars(chosen).items() if value != usual[name]}
    options |= {} if precision is None else {"precision": precision}
    for name, value in options.items():
        check_trainer_option(name, value)
    return tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(options.items()))


def check_trainer_option(name: str, value: Any) -> None:
    """Refuse a value that no record could hold, and numbers that Lightning takes but should not."""
    if name == "strategy":
        choose("--trainer.strategy", value, STRATEGIES)
    if isinstance(value, int | float):
        at_least(f"--trainer.{name}", value, LEAST.get(name, -math.inf))
        if name in POSITIVE:
            above(f"--trainer.{name}", value, 0)
    elif not isinstance(value, str | list):
        raise ValueError(f"--trainer.{name} takes a number or a word here, got {value!r}")


def adapt_recipe(family: Mapping[str, Recipe], name: str, args: Any) -> Recipe:
    """A recipe with the options' epochs, batch size and learning rate."""
    recipe = family[name]
    if args.epochs is not None:
        share = recipe.epochs / family["enhanced"].epochs if name == "original" else 1
        recipe = recipe.with_epochs(max(round(args.epochs * share), 1))
    if args.batch_size is not None:
        recipe = replace(recipe, batch_size=args.batch_size)
    if args.lr is not None and name != "original":
        recipe = replace(recipe, lr=args.lr)
    return recipe


def check_sides(plan: Plan, image_size: int) -> None:
    """Refuse images that are too small for a rung."""
    for rung in plan.rungs:
        least = rung.flags.min_image_size
        if image_size < least:
            raise ValueError(f"image side {image_size} is too small for rung {rung.name}, which needs {least}")


def check_peers(plan: Plan, num_classes: int, in_channels: int, image_size: int) -> None:
    """Make other packages' networks once: they alone know which images and classes suit them."""
    for trial in plan.trials()[: len(plan.rungs)]:
        if isinstance(trial.flags, PeerFlags):
            try:
                network_cost(trial, num_classes, in_channels, image_size)
            except Exception as error:  # noqa: BLE001 - of as many kinds as there are networks
                told = " ".join(str(error).split())
                raise ValueError(f"{trial.rung} cannot take images of {image_size} px: {told[:300]}") from None


def check_weights(trials: Iterable[Trial]) -> None:
    """Make the networks once that begin with weights: these are fetched now, or refused."""
    for trial in {trial.rung: trial for trial in trials}.values():
        if isinstance(trial.flags, PeerFlags) and trial.flags.weights is not None:
            make_module(trial, open_data(trial.data))


def check_parts(trials: Iterable[Trial], processes: int, validated: int) -> None:
    """Refuse batches that processes could not share. Each has a part as large, of two images at least (BatchNorm)."""
    if validated < processes:
        raise ValueError(f"{validated} images to validate cannot be shared by {processes} processes")
    for trial in trials:
        batch = trial.recipe.batch_size
        if processes > 1 and (batch % processes or batch < 2 * processes):
            raise ValueError(
                f"a batch of {batch} cannot be shared by {processes} processes (--trainer.devices x .num_nodes); "
                f"--batch-size takes {2 * processes} or another multiple of {processes}"
            )


def check_trainer(trial: Trial) -> Trainer:
    """The trial's trainer on this machine. Raises a ValueError where Lightning has none for its options."""
    try:
        return make_trainer(trial)
    except (MisconfigurationException, ImportError, TypeError, OverflowError) as error:
        raise ValueError(f"--trainer: {error}") from None


def check_plan(plan: Plan) -> dict[str, object]:
    """Find what would fail only once trials run: data, image side, batch size, trainer. Return what they would hang on.

    Raises:
        ValueError: what is wrong, and what is allowed.
    """
    trials = {trial.recipe: trial for trial in plan.trials()}
    for trial in trials.values():
        splits = PathData(trial.data, trial.recipe).splits
    check_sides(plan, splits.image_size)
    check_peers(plan, splits.num_classes, splits.in_channels, splits.image_size)
    trainer = check_trainer(next(iter(trials.values())))
    check_parts(trials.values(), trainer.num_devices * trainer.num_nodes, len(splits.val_indices))
    return origin(trainer.strategy.root_device, splits.digest)
