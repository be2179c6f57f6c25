"""What is trained, what it gives, and the plan of a whole study, as frozen values."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from ablations.study.origin import Confirmation, Facts, Fingerprint, Origin, list_differences
from convnext_path.costs import Cost
from convnext_path.data.selection import Data
from convnext_path.files import digest
from convnext_path.frozen import Frozen, choose, show, within
from convnext_path.ladder import LADDERS, Rung
from convnext_path.networks.designs import Design, Size
from convnext_path.recipe import Recipe

MOST = 2**63 - 1  # of what is counted
LARGEST = 1e12  # of what is measured: seconds, images a second, learning rates
#: Of a trial's data, what its outcome does not depend on.
UNSEEN = ("root", "check_images")

Options = tuple[tuple[str, object], ...]  # of the Lightning trainer, by name


@dataclass(frozen=True)
class Trial(Frozen):
    """One training: what decides its outcome beside its origin, and the rung that it stands for."""

    ladder: str
    rung: str
    flags: Design
    scale: Size
    recipe: Recipe
    data: Data
    seed: int
    trainer: Options = ()
    threads: int = 1  # of torch on the CPU; another number rounds otherwise
    compile: bool = False  # the network, by torch.compile

    @property
    def id(self) -> str:
        """A hash of :attr:`definition`."""
        return hash_json(self.definition)[:16]

    @property
    def description(self) -> str:
        """What people call it."""
        return f"{self.rung}, seed {self.seed}"

    @property
    def definition(self) -> dict[str, Any]:
        """What differs from the defaults, but for what only rounds otherwise, and for names.

        Names are those of ladder and rung, and of where images and weights lie: digests tell which they are, and how
        images were checked.
        """
        content = {name: value for name, value in self.identity.items() if name not in ("ladder", "rung", "threads")}
        data = {name: value for name, value in content.pop("data", {}).items() if name not in UNSEEN}
        return content | {"flags": forget_file(content.get("flags", {})), "data": data}


def find_old_id(content: Mapping[str, Any]) -> str:
    """The id that a trial had, as its record holds it, when ids hashed all fields and not those alone that differ."""
    flags, data = {**content["flags"]}, content["data"] | {"root": None}
    flags |= {"weights": ""} if flags.get("digest") else {}
    return hash_json({**content, "flags": flags, "data": data}, without=("ladder", "rung"))[:16]


@dataclass(frozen=True)
class Epoch(Frozen):
    """A point of the learning curve. Accuracies in percent; None where an epoch was not validated.

    Raises a ValueError for a number that no training gives; a loss of validation may be infinite.
    """

    epoch: int
    lr: float
    train_loss: float
    val_loss: float | None = None
    top1: float | None = None
    top5: float | None = None
    images: int = 0  # seen so far

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, ("epoch", "images"), ("lr",), ("top1", "top5"))
        if not math.isfinite(self.train_loss):
            raise ValueError(f"Epoch.train_loss must be finite, got {self.train_loss!r}")


@dataclass(frozen=True)
class Seen(Frozen):
    """The images of a training: how many train and validate, how many classes they have, and what they are like."""

    train: int
    val: int
    classes: int
    image_size: int  # pixels a side
    channels: int


@dataclass(frozen=True)
class Result(Frozen):
    """What a trial gave. Accuracies in percent, of the last epoch: no epoch is chosen by its accuracy.

    Raises a ValueError for a number that no training gives.
    """

    trial: Trial
    cost: Cost
    top1: float
    top5: float
    curve: tuple[Epoch, ...]
    seconds: float  # of the whole training, validation included
    images_per_second: float  # of training alone
    peak_memory: int  # bytes: allocated on the GPU, or resident in the process
    origin: Origin  # what decided the outcome beside the trial
    environment: Facts = ()  # system, commit
    weights: str = ""  # a hash of the final ones
    fingerprint: Fingerprint | None = None  # None in records from before there were any
    confirmed: tuple[Confirmation, ...] = ()  # later code, in order
    seen: Seen | None = None  # None in records from before it was kept

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, ("peak_memory",), ("seconds",), ("top1", "top5"))
        within("Result.images_per_second", self.images_per_second, 1e-9, LARGEST)
        if not self.curve:
            raise ValueError("Result.curve has no epoch")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`, also for records from before an origin had two parts."""
        if isinstance(data, Mapping) and isinstance(pairs := data.get("origin"), list):
            data = {**data, "origin": Origin.from_pairs(pairs).to_dict()}
        return super().from_dict(data)

    @property
    def outcome(self) -> str:
        """A hash of what a training gives: the same each time the trial runs with the same origin."""
        measured = ("seconds", "images_per_second", "peak_memory", "origin", "environment")
        told = ("fingerprint", "confirmed", "seen")  # of it, beside what it gave
        return hash_json(self.identity | {"trial": self.trial.definition}, without=(*measured, *told))

    @property
    def codes(self) -> list[object]:
        """The code that trained it, and later code that gives the same."""
        return [dict(self.origin.experiment).get("code"), *(later.code for later in self.confirmed)]

    def differences(self, origin: Origin) -> list[str]:
        """What makes the record another experiment than one of ``origin``; confirmed code is as good as its own."""
        here = dict(origin.experiment)
        if here.get("code") in self.codes:
            here["code"] = self.codes[0]
        return list_differences(self.origin.experiment, tuple(here.items()))

    def roundings(self, origin: Origin) -> list[str]:
        """What makes the record round otherwise than one of ``origin``."""
        return list_differences(self.origin.rounding, origin.rounding)


@dataclass(frozen=True)
class Plan(Frozen):
    """The terms of a study. ``recipes`` holds what the rungs' recipe names stand for.

    Raises a ValueError where there is nothing to train, or a recipe lacks.
    """

    ladder: str
    rungs: tuple[Rung, ...]
    seeds: tuple[int, ...]
    data: Data
    recipes: tuple[tuple[str, Recipe], ...]
    trainer: Options = ()
    threads: int = 1  # of each trial
    compile: bool = False  # each trial's network

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, found in (("rungs", [rung.name for rung in self.rungs]), ("seeds", self.seeds)):
            if not found or len(set(found)) < len(found):
                raise ValueError(f"Plan.{name} must be one or more, each once, got {show(found)}")
        for seed in (min(self.seeds), max(self.seeds)):
            within("each of Plan.seeds", seed, 0, 2**32 - 1)
        within("Plan.threads", self.threads, 1, 1024)
        for rung in self.rungs:
            choose("recipe", rung.recipe, dict(self.recipes))

    def trials(self) -> list[Trial]:
        """Seed by seed, so that the first whole ladder is there early."""
        recipes, how = dict(self.recipes), (self.trainer, self.threads, self.compile)
        return [
            Trial(self.ladder, r.name, r.flags, r.scale, recipes[r.recipe], self.data, seed, *how)
            for seed in self.seeds
            for r in self.rungs
        ]

    def add(self, other: "Plan") -> "Plan":
        """The rungs, recipes and seeds of both, in the ladder's order; a flip follows the rung that it changes.

        The images lie where ``other`` says, and trials have its threads.
        """
        order = {rung.name: i for i, rung in enumerate(LADDERS.get(self.ladder, ()))}
        rungs = {rung.name: rung for rung in self.rungs + other.rungs}
        in_order = sorted(rungs.values(), key=lambda r: (order.get(r.base or r.name, len(order)), r.base is not None))
        seeds = tuple(sorted({*self.seeds, *other.seeds}))
        recipes = tuple(sorted({**dict(self.recipes), **dict(other.recipes)}.items()))
        merged = replace(self, rungs=tuple(in_order), seeds=seeds, recipes=recipes)
        return replace(merged, data=other.data, threads=other.threads)

    def conflicts(self, other: "Plan") -> list[str]:
        """Why ``other`` cannot be added: the terms that differ, as "lr is 0.1 in the study and 0.2 in this run"."""
        values = _compare(_terms(self), _terms(other))
        return [
            f"{name} is {show_term(there)} in the study and {show_term(here)} in this run"
            for name, there, here in values
            if there != here
        ]


def check_numbers(value: Frozen, counts: Sequence[str], amounts: Sequence[str], percents: Sequence[str]) -> None:
    """Raise a ValueError for a field that is no count, no finite amount from 0 on, or no percentage; None is free."""
    bounds = ((counts, MOST), (amounts, LARGEST), (percents, 100))
    for name, most in ((name, most) for names, most in bounds for name in names):
        if (number := getattr(value, name)) is not None:
            within(f"{type(value).__name__}.{name}", number, 0, most)


def forget_file(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags without the path of a file that has its digest beside it."""
    return {**flags, "weights": ""} if flags.get("digest") else {**flags}


def hash_json(content: Mapping[str, Any], without: tuple[str, ...] = ()) -> str:
    """The SHA-256 of a mapping's JSON, but for some of its names."""
    kept = {name: value for name, value in content.items() if name not in without}
    return digest(json.dumps(kept, sort_keys=True).encode())


def _terms(plan: Plan) -> dict[str, Any]:
    """What two runs of one study must share. Recipes and rungs count where both have them; seeds are free."""
    return {
        "ladder": plan.ladder,
        "data": plan.data.to_dict() | dict.fromkeys(UNSEEN),  # images may move; a record's origin tells of a change
        "trainer": dict(plan.trainer),
        "compile": plan.compile,
        "recipe": {name: recipe.to_dict() for name, recipe in plan.recipes},
        "rung": {r.name: _design(r) for r in plan.rungs},
    }


def _design(rung: Rung) -> dict[str, Any]:
    """What a rung trains; its titles and published figures may be mended."""
    return {"flags": forget_file(rung.flags.to_dict()), "scale": rung.scale.to_dict(), "recipe": rung.recipe}


def _compare(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, object, object]]:
    """Both values of every term, by dotted name."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        yield name, old, new
        return
    names = old.keys() & new.keys() if name in ("recipe", "rung") else old.keys() | new.keys()
    for key in sorted(names):
        yield from _compare(old.get(key), new.get(key), f"{name}.{key}" if name else key)


def show_term(value: object) -> str:
    """A term of a plan as an error names it: of numbers with a point four digits."""
    return format(value, ".4g") if isinstance(value, float) else show(value)
