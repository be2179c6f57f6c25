"""Where a study stands: what is done, running, failed or stale, and what the next run would do."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich import box
from rich.markup import escape
from rich.table import Table

from ablations.study.checkpoints import epochs_done
from ablations.study.folder import StudyFolder
from ablations.study.origin import Origin
from ablations.study.steps import count
from ablations.study.trial import Plan, Result, Trial

Kind = Literal["done", "stale", "rounded", "unkept", "damaged", "running", "failed", "begun", "new"]


@dataclass(frozen=True)
class Wanted:
    """What a record must have to count as done."""

    origin: Origin  # of a training here and now: with another experiment a record is stale
    keep: bool = False  # what the network answers
    strict: bool = False  # the same rounding too


@dataclass(frozen=True)
class State:
    """A trial and how far it is; ``rounding``: why a record that is done rounds otherwise than here, if it does."""

    trial: Trial
    kind: Kind
    note: str = ""
    rounding: str = ""


def survey(study: StudyFolder, plan: Plan, wanted: Wanted) -> tuple[list[State], dict[Path, str]]:
    """How far each of the plan's trials is, each network once; and the damaged records, with what is wrong."""
    records, damaged = study.read()
    faults = {file.stem: why for file, why in damaged.items()}
    trials = {trial.id: trial for trial in plan.trials()}
    return [find_state(study, t, records.get(t.id), faults.get(t.id, ""), wanted) for t in trials.values()], damaged


def find_state(study: StudyFolder, trial: Trial, record: Result | None, fault: str, wanted: Wanted) -> State:
    if study.is_running(trial):
        return State(trial, "running")
    if record is not None:
        return judge(study, trial, record, wanted)
    if fault:
        return State(trial, "damaged", f"its record {fault}")
    if failure := study.failure(trial):
        return State(trial, "failed", failure)
    if checkpoints := study.checkpoints(trial.id):
        return State(trial, "begun", f"{epochs_done(checkpoints[-1])} of {trial.recipe.epochs} epochs")
    return State(trial, "new")


def judge(study: StudyFolder, trial: Trial, record: Result, wanted: Wanted) -> State:
    """Whether a trial's record counts as done: of the same experiment, with what is to be kept."""
    if differences := record.differences(wanted.origin):
        return State(trial, "stale", "; ".join(differences))
    rounding = "; ".join(record.roundings(wanted.origin))
    if wanted.strict and rounding:
        return State(trial, "rounded", rounding)
    if study.lacks_answers(record, wanted.keep):
        return State(trial, "unkept", "its answers are not kept")
    return State(trial, "done", f"{record.outcome[:16]}{', different rounding' if rounding else ''}", rounding)


def find_pending(states: Sequence[State], keep_stale: bool = False) -> list[Trial]:
    """What a run would train."""
    kept = ("done", "stale") if keep_stale else ("done",)
    return [state.trial for state in states if state.kind not in kept]


def list_roundings(states: Sequence[State]) -> list[str]:
    """A line for each way in which records that are done round otherwise than here, and of how many."""
    roundings = Counter(state.rounding for state in states if state.rounding)
    return [f"{count} records were made with different rounding: {why}" for why, count in roundings.items()]


def count_states(states: Sequence[State]) -> str:
    """A line such as 34 trials: 30 done, 4 new."""
    kinds = [state.kind for state in states]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f"{count(len(states), 'trial')}: {counts}"


def show_states(states: Sequence[State]) -> Table:
    """The states for the screen."""
    table = Table(box=box.SIMPLE, show_edge=False, padding=0)
    for column in ("trial", "rung", "seed", "state", "note"):
        table.add_column(column)
    for state in states:
        trial = state.trial
        table.add_row(trial.id, escape(trial.rung), str(trial.seed), state.kind, escape(state.note))
    return table


def describe_mixture(results: Sequence[Result]) -> str:
    """What makes results several experiments: "torch 2.14.0, 2.15.0"; empty where they are of one."""
    alike = bool(results) and bool(set.intersection(*(set(result.codes) for result in results)))
    return _list_several([dict(result.origin.experiment) for result in results], "code" if alike else "")


def describe_roundings(results: Sequence[Result]) -> str:
    """What makes results round in several ways; empty where they round in one."""
    return _list_several([dict(result.origin.rounding) for result in results])


def _list_several(origins: Sequence[Mapping[str, object]], but: str = "") -> str:
    names = dict.fromkeys(name for origin in origins for name in origin if name != but)
    values = collect((name, origin.get(name, "unknown")) for name in names for origin in origins)
    return "; ".join(f"{name} {', '.join(found)}" for name, found in values.items() if len(found) > 1)


def collect(pairs: Iterable[tuple[str, object]]) -> dict[str, list[str]]:
    """The values of each name, once, in order."""
    values: dict[str, dict[str, None]] = {}
    for name, value in pairs:
        values.setdefault(name, {})[str(value)] = None
    return {name: list(found) for name, found in values.items()}
