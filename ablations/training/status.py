"""Where a study stands: what is done, running, failed or stale, and what the next run would do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich import box
from rich.markup import escape
from rich.table import Table

from ablations.study.folder import StudyFolder
from ablations.study.trial import Plan, Result, Trial
from ablations.training.checkpoint import epochs_done

Kind = Literal["done", "stale", "unkept", "damaged", "running", "failed", "begun", "new"]


@dataclass(frozen=True)
class State:
    """A trial and how far it is."""

    trial: Trial
    kind: Kind
    note: str = ""


def survey(
    study: StudyFolder, plan: Plan, origin: Mapping[str, object], keep: bool = False
) -> tuple[list[State], dict[Path, str]]:
    """How far each of the plan's trials is, each network once; and the damaged records, with what is wrong with each.

    ``origin``: what a run here and now would have; ``keep``: whether it would keep what networks answer.
    """
    records, damaged = study.read()
    faults = {file.stem: why for file, why in damaged.items()}
    trials = {trial.id: trial for trial in plan.trials()}
    states = [find_state(study, t, records.get(t.id), faults.get(t.id, ""), origin, keep) for t in trials.values()]
    return states, damaged


def find_state(
    study: StudyFolder, trial: Trial, record: Result | None, fault: str, origin: Mapping[str, object], keep: bool
) -> State:
    if study.is_running(trial):
        return State(trial, "running")
    if record is not None:
        differences = "; ".join(record.differences(origin))
        if differences:
            return State(trial, "stale", differences)
        if study.lacks_answers(record, keep):
            return State(trial, "unkept", "its answers are not kept")
        return State(trial, "done", record.outcome[:16])
    if fault:
        return State(trial, "damaged", f"its record {fault}")
    if failure := study.failure(trial):
        return State(trial, "failed", failure)
    if checkpoints := study.checkpoints(trial.id):
        return State(trial, "begun", f"{epochs_done(checkpoints[-1])} of {trial.recipe.epochs} epochs")
    return State(trial, "new")


def find_pending(states: Sequence[State], keep_stale: bool = False) -> list[Trial]:
    """What a run would train."""
    kept = ("done", "stale") if keep_stale else ("done",)
    return [state.trial for state in states if state.kind not in kept]


def count_states(states: Sequence[State]) -> str:
    """A line such as 34 trials: 30 done, 4 new."""
    kinds = [state.kind for state in states]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f"{len(states)} trials: {counts}"


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
    """In what the origins of results differ: "torch 2.14.0, 2.15.0"; empty where they agree."""
    values = collect(pair for result in results for pair in result.origin)
    return "; ".join(f"{name} {', '.join(found)}" for name, found in values.items() if len(found) > 1)


def collect(pairs: Iterable[tuple[str, object]]) -> dict[str, list[str]]:
    """The values of each name, once, in order."""
    values: dict[str, dict[str, None]] = {}
    for name, value in pairs:
        values.setdefault(name, {})[str(value)] = None
    return {name: list(found) for name, found in values.items()}
