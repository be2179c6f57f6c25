"""What is to be done, what was done, and the folder that keeps both.

A study is a list of rungs trained under the same terms over the same seeds. Its folder holds

- ``study.json``: the terms and the rungs;
- ``trials/ID.json``: a record for each finished trial, with its digest: the truth from which all else is drawn;
- ``failed/ID.txt``: why a trial has no record;
- ``running/ID``: the lock and the checkpoints of a trial that has begun; ``running/driver`` is the driver's lock;
- ``aside/``: records that were damaged, or that newer ones replaced.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ablations.files import DRAFT, digest, hold, is_held, remove_drafts, write_whole
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
        return hash_json(self.to_dict(), without=("ladder", "rung"))[:16]


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
    origin: tuple[tuple[str, object], ...]  # what decided the outcome beside the trial: code, data, versions, device
    environment: tuple[tuple[str, object], ...] = ()  # hardware, system, commit
    weights: str = ""  # a hash of the final ones

    @property
    def outcome(self) -> str:
        """A hash of all that is the same each time the trial runs with the same origin."""
        measured = ("seconds", "images_per_second", "peak_memory", "environment")
        return hash_json(replace(self, trial=replace(self.trial, ladder="", rung="")).to_dict(), without=measured)

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
        self.running = self.folder / "running"
        self.aside = self.folder / "aside"
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
            if self.folder.exists() and not (self.folder.is_dir() and self._is_bare()):
                raise ValueError(f"{self.folder} exists and holds no study; name another --study")
            return plan
        there = self.plan()
        differ = [(k, old, new) for k, old, new in _compare(_terms(there), _terms(plan)) if old != new]
        if differ:
            terms = "; ".join(f"{name} is {old!r} there and {new!r} here" for name, old, new in differ)
            raise ValueError(f"{self.folder} holds another configuration; name another --study. {terms}")
        return there.add(plan)

    def _is_bare(self) -> bool:
        """Whether nothing but an unfinished beginning is there."""
        return all(
            file == self.running or file.name.startswith(DRAFT) or (file == self.trials and not any(file.iterdir()))
            for file in self.folder.iterdir()
        )

    def begin(self, plan: Plan) -> None:
        """Make the folder and write the plan. Raises an OSError where that cannot be."""
        self.trials.mkdir(parents=True, exist_ok=True)
        write_whole(self.plan_file, dump(plan.to_dict()))

    @contextmanager
    def lead(self) -> Iterator[None]:
        """Be the folder's one driver. Raises a ValueError that names the other where there is one."""
        self.running.mkdir(parents=True, exist_ok=True)
        file = self.running / "driver"
        with hold(file) as alone:
            if not alone:
                raise ValueError(f"{self.folder} is being trained by {file.read_text()}; wait, or --join in")
            remove_drafts(self.folder)
            yield
        with suppress(OSError):
            self.running.rmdir()

    @contextmanager
    def claim(self, trial: Trial, origin: Mapping[str, object]) -> Iterator[Path | None]:
        """A folder for the trial's checkpoints, held for us; None where another process has it.

        Checkpoints of another origin are no part of this trial, and are removed.
        """
        work = self.running / trial.id
        with hold(work / "lock") as mine:
            place = work / hash_json(origin)[:16]
            if mine:
                self._clear(work, place, trial)
            yield place if mine else None
        with suppress(OSError):  # something is left in it, or it is gone
            work.rmdir()

    def _clear(self, work: Path, place: Path, trial: Trial) -> None:
        """Remove what other origins and unfinished writes have left of a trial."""
        for other in work.iterdir():
            if other.is_dir() and other != place:
                shutil.rmtree(other)
        remove_drafts(self.trials, f"{trial.id}.")
        remove_drafts(place)

    def is_running(self, trial: Trial) -> bool:
        """Whether a living process holds the trial."""
        return is_held(self.running / trial.id / "lock")

    def checkpoints(self, trial: Trial) -> list[Path]:
        """The trial's checkpoints, of whatever origin, by epoch."""
        return sorted((self.running / trial.id).glob("*/*.ckpt"))

    def all_checkpoints(self) -> list[Path]:
        """Every trial's."""
        return sorted(self.running.glob("*/*/*.ckpt"))

    def save(self, result: Result) -> None:
        """Write a record, keep the one it replaces, and clear the trial's failure and checkpoints."""
        file = self._record(result.trial)
        if file.exists() and file.read_bytes() != dump(seal(result)):
            self.put_aside(file)
        write_whole(file, dump(seal(result)))
        (self.failed / f"{result.trial.id}.txt").unlink(missing_ok=True)
        shutil.rmtree(self.running / result.trial.id, ignore_errors=True)

    def put_aside(self, record: Path) -> Path:
        """Move a record out of the way, under a name of its own."""
        self.aside.mkdir(exist_ok=True)
        return record.replace(self.aside / f"{record.stem}-{digest(record.read_bytes())[:8]}.json")

    def save_failure(self, trial: Trial, summary: str, cause: str) -> Path:
        """Keep why a trial has no record."""
        self.failed.mkdir(exist_ok=True)
        file = self.failed / f"{trial.id}.txt"
        write_whole(file, f"{trial.rung}, seed {trial.seed}: {summary}\n\n{cause}".encode())
        return file

    def failure(self, trial: Trial) -> str:
        """Why the trial has no record, in a line; empty where it has not failed."""
        file = self.failed / f"{trial.id}.txt"
        return file.read_text().splitlines()[0].partition(": ")[2] if file.exists() else ""

    def results(self) -> list[Result]:
        """The whole records that belong to the plan, in its order; rungs that are one network share a record."""
        records = self.records()
        return [replace(records[trial.id], trial=trial) for trial in self.plan().trials() if trial.id in records]

    def record(self, trial: Trial) -> Result | None:
        """The trial's own record, if there is a whole one."""
        result = _try_unseal(self._record(trial)) if self._record(trial).exists() else None
        return result if isinstance(result, Result) else None

    def records(self) -> dict[str, Result]:
        """Every whole record in the folder by its trial's id."""
        return {file.stem: result for file, result in self._read() if isinstance(result, Result)}

    def damaged(self) -> dict[Path, str]:
        """Every other file in the records' place, and what is wrong with it."""
        return {file: result for file, result in self._read() if isinstance(result, str)}

    def _read(self) -> Iterator[tuple[Path, Result | str]]:
        """Each record, or what is wrong with it."""
        for file in sorted(self.trials.glob("[!.]*.json")):
            yield file, _try_unseal(file)

    def _record(self, trial: Trial) -> Path:
        return self.trials / f"{trial.id}.json"


def seal(result: Result) -> dict[str, Any]:
    """A record with its digest, which one flipped bit contradicts."""
    content = result.to_dict()
    return {"digest": hash_json(content), **content}


def unseal(file: Path) -> Result:
    """A record that has kept its digest. Raises a ValueError where it is damaged."""
    try:
        content = json.loads(file.read_bytes())
        found = content.pop("digest")
    except (ValueError, AttributeError, KeyError, TypeError):
        raise ValueError("is no record") from None
    if found != hash_json(content):
        raise ValueError("does not match its digest")
    return Result.from_dict(content)


def _try_unseal(file: Path) -> Result | str:
    """A record, or what is wrong with it."""
    try:
        result = unseal(file)
        return result if result.trial.id == file.stem else "is another trial's record"
    except (ValueError, TypeError, OSError) as error:
        return str(error)


def hash_json(content: Mapping[str, Any], without: tuple[str, ...] = ()) -> str:
    """The SHA-256 of a mapping's JSON, but for some of its names."""
    kept = {name: value for name, value in content.items() if name not in without}
    return digest(json.dumps(kept, sort_keys=True).encode())


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


def read(kind: type[Record], file: Path) -> Record:
    """A frozen value as it was written; a ValueError that names the file where it cannot be read."""
    try:
        return kind.from_dict(json.loads(file.read_bytes()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} holds no {kind.__name__}: {error}") from None


def dump(content: Any) -> bytes:
    """JSON as it is written."""
    return (json.dumps(content, indent=1) + "\n").encode()
