"""What is trained, what it gives, and the plan of a whole study, as frozen values."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from convnext_path.cost import Cost
from convnext_path.data.datasets import Data
from convnext_path.files import digest
from convnext_path.frozen import Frozen
from convnext_path.ladder import LADDERS, Rung
from convnext_path.networks.registry import Design, Size
from convnext_path.recipe import Recipe

Options = tuple[tuple[str, object], ...]  # of the Lightning trainer, by name


@dataclass(frozen=True)
class Trial(Frozen):
    """One training: all that decides its outcome, and the rung that it stands for."""

    ladder: str
    rung: str
    flags: Design
    scale: Size
    recipe: Recipe
    data: Data
    seed: int
    trainer: Options = ()
    threads: int = 1  # of torch on the CPU
    compile: bool = False  # the network, by torch.compile

    @property
    def id(self) -> str:
        """A hash of what changes the outcome."""
        return hash_json(self.definition, without=("ladder", "rung"))[:16]

    @property
    def description(self) -> str:
        """What people call it."""
        return f"{self.rung}, seed {self.seed}"

    @property
    def definition(self) -> dict[str, Any]:
        """All but names, of ladder and rung, and of where images and weights lie: digests tell which they are."""
        content = self.to_dict()
        flags, data = forget_file(content["flags"]), content["data"] | {"root": None}
        return content | {"ladder": "", "rung": "", "flags": flags, "data": data}


@dataclass(frozen=True)
class Epoch(Frozen):
    """A point of the learning curve. Accuracies in percent; None where an epoch was not validated."""

    epoch: int
    lr: float
    train_loss: float
    val_loss: float | None = None
    top1: float | None = None
    top5: float | None = None
    images: int = 0  # seen so far


@dataclass(frozen=True)
class Result(Frozen):
    """What a trial gave. Accuracies in percent, of the last epoch: no epoch is chosen by its accuracy."""

    trial: Trial
    cost: Cost
    top1: float
    top5: float
    curve: tuple[Epoch, ...]
    seconds: float  # of the whole training, validation included
    images_per_second: float  # of training alone
    peak_memory: int  # bytes: allocated on the GPU, or resident in the process
    origin: tuple[tuple[str, object], ...]  # what decided the outcome beside the trial: code, data, versions, device
    environment: tuple[tuple[str, object], ...] = ()  # hardware, system, commit
    weights: str = ""  # a hash of the final ones

    @property
    def outcome(self) -> str:
        """A hash of all that is the same each time the trial runs with the same origin."""
        measured = ("seconds", "images_per_second", "peak_memory", "environment")
        return hash_json(self.to_dict() | {"trial": self.trial.definition}, without=measured)

    def differences(self, origin: Mapping[str, object]) -> list[str]:
        """In what the record's origin differs from ``origin``: "torch 2.14.0 there, 2.15.0 here"."""
        mine = dict(self.origin)
        names = sorted(mine.keys() | origin.keys())
        return [f"{n} {mine.get(n)} there, {origin.get(n)} here" for n in names if mine.get(n) != origin.get(n)]


@dataclass(frozen=True)
class Plan(Frozen):
    """The terms of a study. ``recipes`` holds what the rungs' recipe names stand for."""

    ladder: str
    rungs: tuple[Rung, ...]
    seeds: tuple[int, ...]
    data: Data
    recipes: tuple[tuple[str, Recipe], ...]
    trainer: Options = ()
    threads: int = 1  # of each trial
    compile: bool = False  # each trial's network

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

        The images lie where ``other`` says.
        """
        order = {rung.name: i for i, rung in enumerate(LADDERS.get(self.ladder, ()))}
        rungs = {rung.name: rung for rung in self.rungs + other.rungs}
        in_order = sorted(rungs.values(), key=lambda r: (order.get(r.base or r.name, len(order)), r.base is not None))
        seeds = tuple(sorted({*self.seeds, *other.seeds}))
        recipes = tuple(sorted({**dict(self.recipes), **dict(other.recipes)}.items()))
        return replace(self, rungs=tuple(in_order), seeds=seeds, recipes=recipes, data=other.data)

    def conflicts(self, other: "Plan") -> list[str]:
        """Why ``other`` cannot be added: the terms that differ, as "recipe.enhanced.lr is 0.1 there and 0.2 here"."""
        values = _compare(_terms(self), _terms(other))
        return [f"{name} is {there!r} there and {here!r} here" for name, there, here in values if there != here]


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
        "data": plan.data.to_dict() | {"root": None},  # images may move; a record's origin tells whether they changed
        "trainer": dict(plan.trainer),
        "threads": plan.threads,
        "compile": plan.compile,
        "recipe": {name: recipe.to_dict() for name, recipe in plan.recipes},
        "rung": {r.name: r.to_dict() | {"flags": forget_file(r.flags.to_dict())} for r in plan.rungs},
    }


def _compare(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, object, object]]:
    """Both values of every term, by dotted name."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        yield name, old, new
        return
    names = old.keys() & new.keys() if name in ("recipe", "rung") else old.keys() | new.keys()
    for key in sorted(names):
        yield from _compare(old.get(key), new.get(key), f"{name}.{key}" if name else key)
