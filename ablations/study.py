"""What is to be done, what was done, and the folder that keeps both.

A study is a list of rungs trained under the same terms over the same seeds. Its folder holds ``study.json`` (the
terms and the rungs), ``trials/ID.json`` (a record for each finished trial: the truth from which all else is
drawn) and ``failed/ID.txt`` (why a trial has no record).
"""

import hashlib
import json
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convnext_path.cost import Cost
from convnext_path.datasets import Data
from convnext_path.flags import Flags, Scale
from convnext_path.frozen import Frozen
from convnext_path.ladder import LADDERS, Rung
from convnext_path.recipe import Recipe

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
        """The plan that the folder holds. Raises a ValueError where there is none."""
        if not self.plan_file.is_file():
            raise ValueError(f"{self.folder} holds no study (no {self.plan_file.name})")
        return Plan.from_dict(json.loads(self.plan_file.read_text()))

    def merge(self, plan: Plan) -> Plan:
        """The folder's plan with the rungs and seeds of ``plan`` added.

        Raises:
            ValueError: the folder holds a study under other terms, or something else; the message says what.
        """
        if not self.plan_file.exists():
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                raise ValueError(f"{self.folder} exists and holds no study; name another --study")
            return plan
        there = self.plan()
        shared = {r.name for r in there.rungs} & {r.name for r in plan.rungs}
        old, new = _flatten(_terms(there, shared)), _flatten(_terms(plan, shared))
        differ = [k for k in {**old, **new} if old.get(k) != new.get(k)]
        if differ:
            terms = "; ".join(f"{k} is {old.get(k)!r} there and {new.get(k)!r} here" for k in differ)
            raise ValueError(f"{self.folder} holds another configuration; name another --study. {terms}")
        order = {rung.name: i for i, rung in enumerate(LADDERS.get(plan.ladder, ()))}
        rungs = {rung.name: rung for rung in there.rungs + plan.rungs}
        in_order = sorted(rungs.values(), key=lambda rung: order.get(rung.name, len(order)))
        return replace(plan, rungs=tuple(in_order), seeds=tuple(sorted({*there.seeds, *plan.seeds})))

    def begin(self, plan: Plan) -> None:
        """Make the folder and write the plan."""
        self.trials.mkdir(parents=True, exist_ok=True)
        write(self.plan_file, plan.to_dict())

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
        """The records that belong to the plan, in its order.

        Raises:
            ValueError: no study here, or a record that cannot be read.
        """
        records = {result.trial: result for result in map(read_record, sorted(self.trials.glob("*.json")))}
        return [records[trial] for trial in self.plan().trials() if trial in records]

    def done(self) -> set[Trial]:
        """The trials that have a record."""
        return {result.trial for result in self.results()} if self.plan_file.exists() else set()

    def _record(self, trial: Trial) -> Path:
        return self.trials / f"{trial.id}.json"


def _terms(plan: Plan, rungs: Collection[str]) -> dict[str, Any]:
    """What two runs of one study must share; seeds and further rungs are free."""
    return {
        "ladder": plan.ladder,
        "data": plan.data.to_dict(),
        "recipe": {name: recipe.to_dict() for name, recipe in plan.recipes},
        "trainer": dict(plan.trainer),
        "rung": {rung.name: rung.to_dict() for rung in plan.rungs if rung.name in rungs},
    }


def _flatten(value: object, name: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, inner in value.items() for k, v in _flatten(inner, f"{name}.{key}".lstrip(".")).items()}


def read_record(file: Path) -> Result:
    """A record as it was saved; a ValueError that names the file where it cannot be read."""
    try:
        return Result.from_dict(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is no record of a trial: {error}") from None


def write(file: Path, content: Any) -> None:
    """Write JSON so that the file is there whole or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(file)
