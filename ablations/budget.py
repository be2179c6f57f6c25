"""What a study will take, before it is begun: hours, memory, disk and money.

What a rung takes is measured on this machine, by training a few of its steps, or follows from a benchmark's folder,
made on the machine that is asked about.
"""

import heapq
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch
from rich import box
from rich.table import Table

from ablations.bench.bare import BareTraining
from ablations.checkpoint import KEPT
from ablations.engine import default_workers
from ablations.machine import keep_freed_memory, peak_memory, reset_peak_memory
from ablations.options import check_plan, make_plan
from ablations.process import CONTEXT
from ablations.run import count_processes, make_trainer, torch_threads, trial_cost
from ablations.screen import console, fail, say
from ablations.tables import show_count
from ablations.trial import Plan, Trial
from convnext_path.datasets import open_data
from convnext_path.frozen import above, at_least

WARM, TIMED = 2, 6  # training steps: the first ones take longer
START = 3.0  # seconds that a trial takes beside its steps, where that was not measured


@dataclass(frozen=True)
class Pace:
    """What a rung takes."""

    start: float  # seconds before its first step
    train: float  # seconds an image
    validate: float
    memory: float  # bytes at the peak


def foresee(args: Any) -> int:
    """What the word ``plan`` does."""
    try:
        plan = make_plan(args)
        check_plan(plan)
        slots, price = parse_counts(args.at_once), args.price
        at_least("--price", 0 if price is None else price, 0)
        above("--memory", 1 if args.memory is None else args.memory, 0)
        if count_processes(plan.trials()[0]) != (1, 1):
            raise ValueError("a plan is made for one device a trial; leave --trainer.devices and .num_nodes out")
        paces = read_paces(plan, Path(args.bench)) if args.bench else measure_paces(plan, count_slots(plan, args))
    except (ValueError, OSError) as error:
        fail(error)
    except (RuntimeError, MemoryError) as error:  # a process that was killed is one, too
        fail(f"a batch does not fit into memory here, {count_slots(plan, args)} trials at a time ({error})")
    here = None if args.bench else device_memory(plan)
    memory = here if args.memory is None else 1e9 * args.memory
    budget = Budget(plan, paces)
    console.print(show_budget(budget, memory))
    for line in budget.describe(slots, price):
        say(line)
    return 0 if memory is None or all(pace.memory <= memory for pace in paces.values()) else 1


def parse_counts(text: str) -> list[int]:
    """Numbers from 1 to 100,000 separated by commas."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() and 0 < int(word) <= 100_000 for word in words):
        raise ValueError(f"--at-once takes numbers of trials from 1 to 100000, separated by commas, got {text!r}")
    return [int(word) for word in words]


def count_slots(plan: Plan, args: Any) -> int:
    """Trials at a time here, as ``run`` would have them."""
    if args.workers != "auto":
        return int(args.workers)
    device = make_trainer(plan.trials()[0]).strategy.root_device
    return default_workers(device, torch.get_num_threads(), plan.threads)


def measure_paces(plan: Plan, workers: int, loader_workers: int = 0) -> dict[str, Pace]:
    """Each rung's pace here, ``workers`` at a time as in a study: they share caches and memory."""
    trials = first_trials(plan)
    with ProcessPoolExecutor(workers, CONTEXT, keep_freed_memory, max_tasks_per_child=1) as pool:
        paces = pool.map(partial(measure_pace, loader_workers=loader_workers), trials)
        return {trial.rung: pace for trial, pace in zip(trials, paces, strict=True)}


def first_trials(plan: Plan) -> list[Trial]:
    """One of each rung."""
    return plan.trials()[: len(plan.rungs)]


def measure_pace(trial: Trial, loader_workers: int = 0) -> Pace:
    """A trial's pace in this process."""
    begin = time.perf_counter()
    training = BareTraining(trial, loader_workers)
    reset_peak_memory(training.device)
    start, batch = time.perf_counter() - begin, trial.recipe.batch_size
    with torch_threads(trial.threads):
        train = time_batches(training.train_epoch(0), training.device)
        validate = time_batches(training.validate(), training.device)
    return Pace(start, train / batch, validate / batch, peak_memory(training.device))


def time_batches(batches: Iterable[None], device: torch.device) -> float:
    """Seconds of one of the first; of the fastest, where there are too few to leave the very first ones out."""
    times = [time.perf_counter()]
    for _ in islice(batches, WARM + TIMED):
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter())
    taken = [after - before for before, after in pairwise(times)]
    return fmean(taken[WARM:] or [min(taken)])


def read_paces(plan: Plan, bench: Path) -> dict[str, Pace]:
    """Each rung's pace on the machine of a benchmark, scaled by multiply-accumulates to the plan's images.

    Raises:
        ValueError: no benchmark there, or one that lacks a rung or the precision.
    """
    if not (bench / "bench.json").is_file():
        raise ValueError(f"{bench} holds no benchmark (no bench.json)")
    precision = "bf16" if "bf16" in str(dict(plan.trainer).get("precision")) else "fp32"
    rows: list[dict[str, Any]] = pd.read_csv(bench / "results.csv").to_dict("records")  # type: ignore[assignment]
    ours = {(r["rung"], r["precision"], r["task"]): r for r in rows if r.get("source") == "ours"}
    batch = json.loads((bench / "bench.json").read_bytes())["terms"].get("batch_size", 1)
    paces = {}
    for trial in first_trials(plan):
        try:
            train, infer = (ours[trial.rung, precision, task] for task in ("training", "inference"))
        except KeyError:
            there = ", ".join(sorted({f"{rung} in {word}" for rung, word, _ in ours}))
            raise ValueError(f"{bench} has no {trial.rung} in {precision}; there: {there or 'no rung'}") from None
        paces[trial.rung] = scale_pace(trial, train, infer, batch)
    return paces


def scale_pace(trial: Trial, train: Mapping[str, Any], infer: Mapping[str, Any], batch: int) -> Pace:
    """The pace of a benchmark's rows, from its images and batches to a trial's."""
    larger = trial_cost(trial).paper_macs / train["macs"]
    held = 16 * trial_cost(trial).params  # weights, gradients and two moments, in fp32
    an_image = max(train["peak_memory"] - held, 0) / batch
    memory = held + larger * an_image * trial.recipe.batch_size
    return Pace(START, larger / train["images_per_second"], larger / infer["images_per_second"], memory)


def trial_seconds(trial: Trial, pace: Pace) -> float:
    """A whole training, with its validations."""
    splits, recipe = open_data(trial.data), trial.recipe
    images = recipe.epochs * (len(splits.train_indices) // recipe.batch_size) * recipe.batch_size
    every: Any = dict(trial.trainer).get("check_val_every_n_epoch", 1)
    validated = math.ceil(recipe.epochs / int(every)) * len(splits.val_indices)
    return pace.start + images * pace.train + validated * pace.validate


def pack(seconds: Iterable[float], slots: int) -> float:
    """When the last trial ends, each begun in its turn as soon as a slot is free: what a study does."""
    free = [0.0] * slots
    for taken in seconds:
        heapq.heapreplace(free, free[0] + taken)
    return max(free)


def checkpoint_bytes(trial: Trial) -> int:
    """What a trial at work keeps on disk: weights, moments and average, in fp32."""
    copies = {"sgd": 2, "adamw": 3}[trial.recipe.optimizer] + (trial.recipe.ema is not None)
    return KEPT * 4 * copies * trial_cost(trial).params


@dataclass(frozen=True)
class Budget:
    """What a plan takes, at a pace a rung."""

    plan: Plan
    paces: Mapping[str, Pace]

    @property
    def seconds(self) -> list[float]:
        """Of each trial, in order."""
        return [trial_seconds(trial, self.paces[trial.rung]) for trial in self.plan.trials()]

    def disk(self, slots: int) -> int:
        """Bytes of checkpoints, at most."""
        return sum(sorted(map(checkpoint_bytes, self.plan.trials()), reverse=True)[:slots])

    def describe(self, slots: Sequence[int], price: float | None) -> Iterator[str]:
        """Sentences: the sum, and for each number of devices the time, what is lost to waiting, and the cost."""
        total = sum(self.seconds)
        yield f"{len(self.seconds)} trials, {show_hours(total)} of one device in sum"
        for number in slots:
            wall = pack(self.seconds, number)
            best = max(total / number, max(self.seconds))
            cost = "" if price is None else f", {price * number * wall / 3600:,.2f} at {price:g} an hour"
            disk = f"{show_count(self.disk(number))}B of checkpoints"
            yield f"on {number}: {show_hours(wall)} (no order takes less than {show_hours(best)}), {disk}{cost}"


def show_budget(budget: Budget, memory: float | None) -> Table:
    """A line a rung; what does not fit into ``memory`` bytes stands out."""
    plan = budget.plan
    table = Table(box=box.SIMPLE, show_edge=False, padding=0, caption=f"hours: of one device, {len(plan.seeds)} seeds")
    table.add_column("rung")
    for column in ("images/s", "a trial", "hours", "memory", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for trial in first_trials(plan):
        pace = budget.paces[trial.rung]
        seconds, fits = trial_seconds(trial, pace), memory is None or pace.memory <= memory
        table.add_row(
            trial.rung,
            f"{1 / pace.train:.4g}",
            show_hours(seconds),
            f"{len(plan.seeds) * seconds / 3600:.3g}",
            f"{show_count(pace.memory)}B",
            "" if fits else "does not fit",
            style="" if fits else "yellow",
        )
    return table


def show_hours(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def device_memory(plan: Plan) -> int:
    """Bytes of the device that trials here run on."""
    device = make_trainer(plan.trials()[0]).strategy.root_device
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
