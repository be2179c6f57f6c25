"""What is to be done, what was done, and the folder that keeps both.

A study is a list of rungs trained under the same terms over the same seeds. Its folder holds ``study.json`` (the
terms and the rungs), ``trials/ID.json`` (a record for each finished trial: the truth from which all else is
drawn) and ``failed/ID.txt`` (why a trial has no record).
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from convnext_path.cost import Cost
from convnext_path.datasets import Data
from convnext_path.flags import Flags, Scale
from convnext_path.frozen import Frozen
from convnext_path.ladder import LADDERS, Rung
from convnext_path.recipe import Recipe

Record = TypeVar("Record", bound=Frozen)
Options = tuple[tuple[str, object], ...]  # of the Lightning trainer, by name


@dataclass(frozen=True)
class Trial(Frozen):
    """One training: all that decides its outcome, and the rung that it stands for."""

    ladder: str
    rung: str
    flags: Flags
    scale: Scale
    recipe: Recipe
    data: Data
    seed: int
    trainer: Options = ()

    @property
    def id(self) -> str:
        """A hash of what changes the outcome: neither the ladder's name nor the rung's is part of it."""
        content = {name: value for name, value in self.to_dict().items() if name not in ("ladder", "rung")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Epoch(Frozen):
    """A point of the learning curve. Accuracies in percent; None where an epoch was not validated."""

    epoch: int
    lr: float
    train_loss: float
    val_loss: float | None = None
    top1: float | None = None
    top5: float | None = None


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
    environment: tuple[tuple[str, object], ...]  # versions, hardware, threads, commit


@dataclass(frozen=True)
class Plan(Frozen):
    """The terms of a study. ``recipes`` holds what the rungs' recipe names stand for."""

    ladder: str
    rungs: tuple[Rung, ...]
    seeds: tuple[int, ...]
    data: Data
    recipes: tuple[tuple[str, Recipe], ...]
    trainer: Options = ()

    def trials(self) -> list[Trial]:
        """Seed by seed, so that the first whole ladder is there early."""
        recipes = dict(self.recipes)
        return [
            Trial(self.ladder, r.name, r.flags, r.scale, recipes[r.recipe], self.data, seed, self.trainer)
            for seed in self.seeds
            for r in self.rungs
        ]

    def add(self, other: "Plan") -> "Plan":
        """The rungs, recipes and seeds of both, in the ladder's order; a flip follows the rung that it changes."""
        order = {rung.name: i for i, rung in enumerate(LADDERS.get(self.ladder, ()))}
        rungs = {rung.name: rung for rung in self.rungs + other.rungs}
        in_order = sorted(rungs.values(), key=lambda r: (order.get(r.base or r.name, len(order)), r.base is not None))
        seeds = tuple(sorted({*self.seeds, *other.seeds}))
        recipes = tuple(sorted({**dict(self.recipes), **dict(other.recipes)}.items()))
        return replace(self, rungs=tuple(in_order), seeds=seeds, recipes=recipes)


class Study:
    """A study's folder. Nothing is written before :meth:`begin`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.trials = self.folder / "trials"
        self.failed = self.folder / "failed"
        self.plan_file = self.folder / "study.json"

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def plan(self) -> Plan:
        """The plan that the folder holds. Raises a ValueError where there is none, or none that can be read."""
        if not self.plan_file.is_file():
            raise ValueError(f"{self.folder} holds no study (no {self.plan_file.name})")
        return read(Plan, self.plan_file)

    def merge(self, plan: Plan) -> Plan:
        """The folder's plan with the rungs and seeds of ``plan`` added.

        Raises:
            ValueError: the folder holds a study under other terms, or something else; the message says what.
        """
        if not self.plan_file.exists():
            if self.folder.exists() and not (self.folder.is_dir() and all(map(is_draft, self.folder.iterdir()))):
                raise ValueError(f"{self.folder} exists and holds no study; name another --study")
            return plan
        there = self.plan()
        differ = [(k, old, new) for k, old, new in _compare(_terms(there), _terms(plan)) if old != new]
        if differ:
            terms = "; ".join(f"{name} is {old!r} there and {new!r} here" for name, old, new in differ)
            raise ValueError(f"{self.folder} holds another configuration; name another --study. {terms}")
        return there.add(plan)

    def begin(self, plan: Plan) -> None:
        """Make the folder and write the plan. Raises an OSError where that cannot be."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.plan_file, plan.to_dict())
        self.trials.mkdir(exist_ok=True)

    def save(self, result: Result) -> None:
        """Write a record, whole or not at all, and clear an earlier failure."""
        write(self._record(result.trial), result.to_dict())
        (self.failed / f"{result.trial.id}.txt").unlink(missing_ok=True)

    def save_failure(self, trial: Trial, cause: str) -> Path:
        """Keep why a trial has no record."""
        self.failed.mkdir(exist_ok=True)
        file = self.failed / f"{trial.id}.txt"
        file.write_text(f"{trial.rung}, seed {trial.seed}\n\n{cause}")
        return file

    def results(self) -> list[Result]:
        """The records that belong to the plan, in its order; rungs that are one network share a record.

        Raises:
            ValueError: no study here, or a record that cannot be read.
        """
        plan, records = self.plan(), self._records()
        return [replace(records[trial.id], trial=trial) for trial in plan.trials() if trial.id in records]

    def pending(self, plan: Plan) -> list[Trial]:
        """The plan's trials that have no record yet, each once."""
        done = self._records()
        return list({trial.id: trial for trial in plan.trials() if trial.id not in done}.values())

    def _records(self) -> dict[str, Result]:
        """Every record in the folder by its trial's id."""
        results = [read(Result, file) for file in sorted(self.trials.glob("*.json"))]
        return {result.trial.id: result for result in results}

    def _record(self, trial: Trial) -> Path:
        return self.trials / f"{trial.id}.json"


def _terms(plan: Plan) -> dict[str, Any]:
    """What two runs of one study must share. Recipes and rungs count where both have them; seeds are free."""
    return {
        "ladder": plan.ladder,
        "data": plan.data.to_dict(),
        "trainer": dict(plan.trainer),
        "recipe": {name: recipe.to_dict() for name, recipe in plan.recipes},
        "rung": {rung.name: rung.to_dict() for rung in plan.rungs},
    }


def _compare(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, object, object]]:
    """Both values of every term, by dotted name."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        yield name, old, new
        return
    names = old.keys() & new.keys() if name in ("recipe", "rung") else old.keys() | new.keys()
    for key in sorted(names):
        yield from _compare(old.get(key), new.get(key), f"{name}.{key}" if name else key)


def is_draft(file: Path) -> bool:
    """Whether a write that never ended left this behind."""
    return file.name.startswith(".")


def read(kind: type[Record], file: Path) -> Record:
    """A frozen value as it was written; a ValueError that names the file where it cannot be read."""
    try:
        return kind.from_dict(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} holds no {kind.__name__}: {error}") from None


def write(file: Path, content: Any) -> None:
    """Write JSON so that the file is there whole or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(file)
