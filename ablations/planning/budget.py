"""What a study will take, before it is begun: hours, memory, disk and money."""

import heapq
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.table import Table

from ablations.analysis.doubts import Doubt, find_doubts
from ablations.analysis.tables import show_count, show_number
from ablations.engines.resources import Resources
from ablations.planning.profiles import PROFILES, Machine
from ablations.planning.throughput import (
    Extent,
    Pace,
    count_devices,
    first_trials,
    known_extent,
    measure_extent,
    profile_paces,
    read_paces,
)
from ablations.study.checkpoints import KEPT
from ablations.study.limits import check_parts, check_sides, check_steps, check_terms
from ablations.study.places import find_folder
from ablations.study.steps import count, count_steps
from ablations.study.trial import Plan, Trial
from ablations.training.costs import check_peers
from convnext_path.recipe import check_batch

#: Those that Lightning takes on a GPU, whatever is here.
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true")


def foresee(plan: Plan, machine: Machine, resources: Resources) -> "Budget":
    """What a plan takes on a machine.

    Raises:
        ValueError: the plan cannot be carried out there, or nothing is known of it.
    """
    budget = foresee_here(plan, resources) if machine.is_here else foresee_elsewhere(plan, machine)
    return budget if machine.memory is None else replace(budget, memory=1e9 * machine.memory)


def foresee_here(plan: Plan, resources: Resources) -> "Budget":
    if count_devices(plan.trials()[0]) > 1:
        raise ValueError("a trial on several devices is not measured here, but computed; add --profile or --bench")
    import torch

    from ablations.engines.choose import share_cores
    from ablations.training.checks import check_plan
    from ablations.training.trainer import find_device

    check_plan(plan)
    slots, readers = share_cores(plan, resources.workers, resources.loader_workers, torch.get_num_threads())
    shared = 1 if find_device(plan.trials()[0]).type == "cpu" else slots  # of a CPU, a core or so is a device
    paces = try_paces(plan, slots, readers)
    source = f"measured on this machine: a few steps of each rung, {count(slots, 'trial')} at a time"
    return Budget(plan, measure_extent(plan.data), paces, source, device_memory(plan) / slots, shared)


def foresee_elsewhere(plan: Plan, machine: Machine) -> "Budget":
    """By what was measured of another machine; the images need not be here."""
    extent, devices = known_extent(plan.data), count_devices(plan.trials()[0])
    check_sides(plan, extent.image_size)
    check_peers(plan, extent.num_classes, extent.in_channels, extent.image_size)
    check_elsewhere(plan, extent)
    check_parts(plan.trials(), devices, extent.val)
    if machine.profile is None:
        paces = read_paces(plan, extent, find_folder(str(machine.bench), "--bench"))
        return Budget(plan, extent, paces, f"as measured in {machine.bench}")
    profile = PROFILES[machine.profile]
    source = (
        f"{machine.profile}: ResNet-50 trains at {profile.images_per_second:g} images/s ({profile.source}). The speed "
        "of other networks is estimated from their multiply-accumulates. The time to load images and to communicate "
        "between devices is ignored. Memory is a lower bound."
    )
    return Budget(plan, extent, profile_paces(plan, extent, profile), source, profile.memory)


def check_elsewhere(plan: Plan, extent: Extent) -> None:
    """What :func:`check_plan` finds, as far as it does not hang on this machine. Raises a ValueError."""
    check_terms(plan)
    for _, recipe in plan.recipes:
        check_batch(recipe, extent.train)
    check_steps(plan, extent.seen)
    hardware = ("accelerator", "devices", "num_nodes", "strategy")
    options = tuple((name, value) for name, value in plan.trainer if name not in hardware and value not in PRECISIONS)
    for trial in first_trials(plan) if options else ():  # Lightning knows them, and takes seconds to load
        from ablations.training.checks import check_trainer

        check_trainer(replace(trial, trainer=options))


def try_paces(plan: Plan, slots: int, readers: int) -> dict[str, Pace]:
    """Each rung's pace here. Raises a ValueError where a process ends without one."""
    from ablations.planning.measure import measure_paces, measure_start

    trials = first_trials(plan)
    try:
        paces = measure_paces(trials, slots, readers)
        start = measure_start(trials[0], paces[trials[0].rung])
        return {rung: replace(pace, start=start) for rung, pace in paces.items()}
    except (RuntimeError, MemoryError) as error:  # a process that was killed is one, too
        raise ValueError(
            f"a batch does not fit into memory here with {count(slots, 'trial')} at a time ({error})"
        ) from None


def trial_seconds(trial: Trial, pace: Pace, extent: Extent) -> float:
    """A whole training, with its validations."""
    recipe, options = trial.recipe, dict(trial.trainer)
    steps = count_steps(recipe, options, extent.seen)
    images = recipe.epochs * steps.batches * recipe.batch_size
    every: Any = options.get("check_val_every_n_epoch", 1)
    validated = math.ceil(recipe.epochs / int(every)) * steps.validated
    return pace.start + images * pace.train + validated * pace.validate


def pack(seconds: Iterable[float], slots: int) -> float:
    """When the last trial ends, each begun in its turn as soon as a slot is free: what a study does."""
    free = [0.0] * slots
    for taken in seconds:
        heapq.heapreplace(free, free[0] + taken)
    return max(free)


def checkpoint_bytes(trial: Trial, params: int) -> int:
    """What a trial at work keeps on disk: weights, moments and average, in fp32."""
    copies = {"sgd": 2, "adamw": 3}[trial.recipe.optimizer] + (trial.recipe.ema is not None)
    return KEPT * 4 * copies * params


@dataclass(frozen=True)
class Budget:
    """What a plan takes, at a pace a rung."""

    plan: Plan
    extent: Extent
    paces: Mapping[str, Pace]
    source: str = ""  # of the paces, as a sentence
    memory: float | None = None  # bytes of a device, as far as it is known
    shared: int = 1  # trials on a device

    @property
    def seconds(self) -> list[float]:
        """Of each trial, in order."""
        return [self.seconds_of(trial) for trial in self.plan.trials()]

    @property
    def fits(self) -> bool:
        """Whether every rung fits into a device's memory, or nobody knows."""
        return all(map(self.fits_rung, self.paces))

    def fits_rung(self, rung: str) -> bool:
        return self.memory is None or self.paces[rung].memory <= self.memory

    def seconds_of(self, trial: Trial) -> float:
        return trial_seconds(trial, self.paces[trial.rung], self.extent)

    def disk(self, slots: int) -> int:
        """Bytes of checkpoints, at most."""
        sizes = (checkpoint_bytes(trial, self.extent.cost(trial).params) for trial in self.plan.trials())
        return sum(sorted(sizes, reverse=True)[:slots])

    @property
    def doubts(self) -> list[Doubt]:
        """Why the study could not answer what it asks, however long it trains."""
        return find_doubts(self.plan, self.extent.seen)

    def describe(self, numbers: Sequence[int], price: float | None) -> Iterator[str]:
        """Sentences: the sum, for each number of devices the time, what is lost to waiting, the cost; then doubts."""
        each, total = count_devices(self.plan.trials()[0]), sum(self.seconds)
        of = f", each of {each} devices" if each > 1 else ""
        yield f"{len(self.seconds)} trials{of}, {show_time(total * each / self.shared)} of device time in total"
        for number in numbers:
            if number < each:
                yield f"with {number} at once: too few"
                continue
            slots = number // each * self.shared
            wall, best = pack(self.seconds, slots), max(total / slots, max(self.seconds))
            cost = "" if price is None else f", {price * number * wall / 3600:,.2f} at {price:g} per hour"
            disk = f"{show_count(self.disk(slots))}B of checkpoints"
            yield f"with {number} at once: {show_time(wall)} (at least {show_time(best)} in any order), {disk}{cost}"
        yield from (f"warning: {doubt}" for doubt in self.doubts)


def show_budget(budget: Budget) -> Table:
    """A line a rung; what does not fit into a device's memory stands out."""
    plan = budget.plan
    devices = count_devices(plan.trials()[0])
    table = Table(
        box=box.SIMPLE, show_edge=False, padding=0, caption=f"hours: on one device, {count(len(plan.seeds), 'seed')}"
    )
    table.add_column("rung")
    for column in ("images/s", "per trial", "hours", "memory", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for trial in first_trials(plan):
        pace = budget.paces[trial.rung]
        seconds, fits = budget.seconds_of(trial), budget.fits_rung(trial.rung)
        table.add_row(
            trial.rung,
            show_number(1 / pace.train, "{:,.0f}" if pace.train < 0.01 else "{:.3g}"),
            show_time(seconds),
            f"{len(plan.seeds) * devices * seconds / 3600 / budget.shared:.3g}",
            f"{show_count(pace.memory)}B",
            "" if fits else "does not fit",
            style="" if fits else "yellow",
        )
    return table


def show_time(seconds: float) -> str:
    """In the unit that people would use."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def device_memory(plan: Plan) -> int:
    """Bytes of the device that trials here run on."""
    import torch

    from ablations.training.trainer import find_device

    device = find_device(plan.trials()[0])
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
