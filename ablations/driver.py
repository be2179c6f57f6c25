"""A run of a study: what it would do, said; then the trials that it lacks are trained, and what there is is drawn."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from errno import ENOENT
from pathlib import Path

from ablations.analysis.doubts import find_doubts
from ablations.console import Log, console, open_log, say
from ablations.engines.choose import check_processes, choose_terms
from ablations.engines.distributed import Team, find_rank
from ablations.engines.local import warm_up
from ablations.engines.resources import Resources
from ablations.engines.scheduler import Terms, run_trials
from ablations.planning.estimate import estimate_seconds
from ablations.report.publish import draw
from ablations.study.folder import StudyFolder
from ablations.study.keeping import Keeping, Mode
from ablations.study.locks import Lock
from ablations.study.places import check_places
from ablations.study.steps import count, count_steps
from ablations.study.trial import Plan, Seen, Trial
from ablations.training.checks import check_plan, check_weights
from ablations.training.seen import describe_splits
from ablations.training.status import State, Wanted, count_states, find_pending, list_roundings, survey
from ablations.training.trainer import count_processes
from ablations.training.wandb_log import choose_mode
from convnext_path import Recipe
from convnext_path.data.datasets import open_data


@dataclass(frozen=True)
class Run:
    """A run that nothing speaks against: where its study stands, and what is to be trained on what terms."""

    plan: Plan
    merged: Plan  # with the rungs and seeds that the folder's plan has beside
    folder: StudyFolder
    keeping: Keeping
    terms: Terms
    states: Sequence[State]
    damaged: Mapping[Path, str]
    pending: Sequence[Trial]
    log: Log
    lock: Lock | None  # none for a run that joins another, or only shows what it would do

    def show(self) -> None:
        """Say what will be trained on what, and about how long it takes."""
        plan, splits = self.plan, open_data(self.plan.data)
        seen = describe_splits(splits)
        images = f"{count(seen.train, 'image')} to train, {seen.val} to validate"
        names = f" ({', '.join(r.name for r in plan.rungs)})" if len(plan.rungs) < 5 else ""
        rungs = f"{count(len(plan.rungs), 'rung')}{names}"
        lines = {
            "study": f"{self.folder.folder}: {count_states(self.states)}",
            "ladder": f"{plan.ladder}: {rungs} x seeds {', '.join(map(str, plan.seeds))}",
            "data": f"{plan.data.title}: {splits.num_classes} classes, {images}, {splits.image_size} px",
            "recipe": ", ".join(describe_recipe(name, recipe, plan, seen) for name, recipe in plan.recipes),
            **self.describe_stale(),
            **self.describe_rounding(),
            **self.describe_time(),
        }
        for name, line in (*lines.items(), *(("note", note) for note in splits.notes)):
            say(f"{name:8}{line}")
        for doubt in find_doubts(self.merged, seen, self.foresee_seeds()):
            say(f"warning: {doubt}")

    def foresee_seeds(self) -> dict[str, set[int]]:
        """The seeds that each rung will have when this run is over, if no trial fails."""
        records, _ = self.folder.read()
        here = {trial.id for trial in self.plan.trials()} | records.keys()
        there = [trial for trial in self.merged.trials() if trial.id in here]
        return {rung.name: {trial.seed for trial in there if trial.rung == rung.name} for rung in self.merged.rungs}

    def describe_stale(self) -> dict[str, str]:
        stale = [state.note for state in self.states if state.kind == "stale"]
        fate = "will be trained again (--keep-stale keeps them)" if self.pending else "kept"
        return {"stale": f"{len(stale)} records, {fate}: {'; '.join(dict.fromkeys(stale))}"} if stale else {}

    def describe_rounding(self) -> dict[str, str]:
        lines = list_roundings(self.states)
        return {"rounded": f"{'; '.join(lines)} (--strict trains them again)"} if lines else {}

    def describe_time(self) -> dict[str, str]:
        if not self.pending or self.keeping.join:  # who helps is to begin, and not to measure first
            return {}
        slots = self.terms.engine.slots
        at_once = f"{count(slots, 'trial')} at a time"
        try:
            seconds = estimate_seconds(self.pending, slots, self.terms.loader_workers)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run does not hang on it
            return {"time": f"unknown: {' '.join(str(error).split()) or type(error).__name__}"}
        return {
            "time": f"about {timedelta(seconds=round(seconds))} with {at_once}, estimated from a few training steps"
        }

    def train(self, command: str = "") -> list[tuple[Trial, str]]:
        """Train what is pending and draw what there is; a run that joined another leaves the drawing to it.

        Args:
            command: kept with the study.

        Returns:
            The trials without a result, and why; none for a dry run.

        Raises:
            OSError: a file cannot be written.
        """
        if self.keeping.dry_run:
            return []
        for file, why in self.damaged.items():
            say(f"damaged: {file} {why}; kept as {self.folder.put_aside(file)}")
        wandb: Mode = choose_mode(self.keeping.wandb) if self.pending else "disabled"
        join, terms = self.keeping.join, replace(self.terms, wandb=wandb)
        if self.lock and not self.lock.is_there():
            raise FileNotFoundError(ENOENT, "the study was moved or removed in the meantime", str(self.folder.folder))
        if not join:
            self.folder.begin(self.merged, command)
        self.log.keep(self.folder.log_file, f"process {os.getpid()} on {os.uname().nodename}: {command}")
        if not join and (renamed := self.folder.migrate()):
            say(f"renamed {renamed} records to today's ids")
        missing = run_trials(self.folder, self.pending, console, terms, wait=not join)
        if not join:
            draw(self.folder, self.folder.contents(), wandb)
        for trial, why in missing:
            say(f"no result: {trial.description}: {why}")
        return missing


@dataclass(frozen=True)
class Follower:
    """A run that another driver leads: torchrun or srun started several, and this is not the first."""

    team: Team

    def show(self) -> None:
        """Nothing; the first driver says it."""

    def train(self, command: str = "") -> list[tuple[Trial, str]]:
        """Do our part of each trial. Raises a ChildProcessError where it fails, or the first driver has."""
        if self.team.follow():
            raise ChildProcessError("the first process failed, or this process's part of a trial did")
        return []


@contextmanager
def open_run(plan: Plan, keeping: Keeping, resources: Resources) -> Iterator[Run | Follower]:
    """A run of a plan, once all is found that would speak against it; meanwhile its folder and its engine are held.

    Raises:
        ValueError: whatever speaks against it, and what is allowed.
        OSError: a file cannot be read or written.
    """
    rank = find_rank(os.environ) if resources.engine.name == "local" else None  # a Ray cluster's nodes may be srun's
    if rank and rank.number:
        yield Follower(Team(rank))
        return
    with ExitStack() as held:
        log = held.enter_context(open_log())
        team = held.enter_context(Team(rank)) if rank else None
        folder = StudyFolder(keeping.find_folder(plan))
        check_places(plan.data, folder.folder)
        merged = folder.merge(plan)
        here = check_plan(plan)
        check_processes(resources.engine, *count_processes(plan.trials()[0]), team)
        if keeping.join and merged != replace(folder.plan(), data=plan.data):  # which may lie elsewhere
            raise ValueError(f"--join takes only trials that {folder.folder} has; this run would add others")
        lock = None if keeping.join or keeping.dry_run else held.enter_context(folder.lead())
        wanted = Wanted(here, keeping.keep, keeping.strict)
        terms = held.enter_context(choose_terms(plan, folder, resources, team, wanted))
        states, damaged = survey(folder, plan, terms.wanted)
        pending = find_pending(states, keeping.keep_stale)
        check_weights(pending)
        if pending and not keeping.dry_run:
            warm_up(keeping.wandb)
        yield Run(plan, merged, folder, keeping, terms, states, damaged, pending, log, lock)


def describe_recipe(name: str, recipe: Recipe, plan: Plan, images: Seen) -> str:
    """What it trains: 30 epochs of 1 step of 128 images."""
    return f"{name}: {count(recipe.epochs, 'epoch')} of {count_steps(recipe, dict(plan.trainer), images)}"
