"""Results and costs as rows: for files, for the screen, for the charts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pandas as pd
import torch
from rich import box
from rich.table import Table

from ablations.trial import Plan, Result
from convnext_path import Cost, PathNet, Rung, cost


@dataclass(frozen=True)
class Step:
    """A rung, its results over seeds, and the step that it changes: the last adopted one, or a flip's own."""

    rung: Rung
    results: tuple[Result, ...]
    seeds: int  # that were planned
    base: "Step | None" = None

    @property
    def accuracies(self) -> list[float]:
        """Top-1 in percent, one a seed."""
        return [result.top1 for result in self.results]

    @property
    def top1(self) -> float:
        """Mean over seeds; not a number without results."""
        return self.mean(lambda result: result.top1)

    @property
    def std(self) -> float:
        """Standard deviation over seeds (n - 1); not a number for fewer than two."""
        return stdev(self.accuracies) if len(self.results) > 1 else math.nan

    @property
    def delta(self) -> float:
        """The change from the base, in points; not a number where there is none."""
        return self.top1 - self.base.top1 if self.base else math.nan

    @property
    def gap(self) -> str:
        """What is missing of it, in words: "2 of 3 seeds"; empty where nothing is."""
        n = len(self.results)
        return "" if n == self.seeds else f"{n} of {self.seeds} seeds" if n else "no result"

    @property
    def macs(self) -> float:
        """Multiply-accumulates as the paper counts."""
        return self.mean(lambda result: result.cost.paper_macs)

    def mean(self, measure: Any) -> float:
        """The mean of a measure over the results."""
        return fmean(map(measure, self.results)) if self.results else math.nan


def summarize(plan: Plan, results: Sequence[Result]) -> list[Step]:
    """A step for each rung of the plan, in order."""
    steps: dict[str, Step] = {}
    last: Step | None = None
    for rung in plan.rungs:
        base = steps.get(rung.base) if rung.base else last
        step = Step(rung, tuple(r for r in results if r.trial.rung == rung.name), len(plan.seeds), base)
        steps[rung.name] = step
        last = step if rung.adopted and step.results else last
    return list(steps.values())


def to_frame(steps: Iterable[Step]) -> pd.DataFrame:
    """The content of ``results.csv``: accuracies in percent, seconds a trial, memory in MB."""
    return pd.DataFrame(
        {
            "rung": step.rung.name,
            "title": step.rung.title,
            "section": step.rung.section,
            "adopted": step.rung.adopted,
            "n": len(step.results),
            "top1": step.top1,
            "std": step.std,
            "delta": step.delta,
            "top5": step.mean(lambda r: r.top5),
            "macs": step.macs,
            "params": step.mean(lambda r: r.cost.params),
            "activations": step.mean(lambda r: r.cost.activations),
            "seconds": step.mean(lambda r: r.seconds),
            "images_per_second": step.mean(lambda r: r.images_per_second),
            "peak_memory_mb": step.mean(lambda r: r.peak_memory / 1e6),
            "paper_top1": step.rung.paper_top1,
            "paper_std": step.rung.paper_std,
            "paper_gmacs": step.rung.paper_gmacs,
        }
        for step in steps
    )


def show_results(steps: Sequence[Step]) -> Table:
    """The steps for the screen."""
    n = steps[0].seeds
    published = any(step.rung.paper_top1 for step in steps)
    caption = f"{n} seed{'s' * (n != 1)}; change: from the last adopted step; ×: not adopted"
    table = Table(caption=caption, box=box.SIMPLE, show_edge=False, padding=0)
    table.add_column("step")
    for column in ("top-1 %", "change", "MACs", "params", "s", *["paper %"] * published):
        table.add_column(column, justify="right", no_wrap=True)
    for step in steps:
        title = f"{'' if step.rung.adopted else '× '}{step.rung.title}{f' ({step.gap})' if step.gap else ''}"
        measures = [
            show_number(step.top1) + show_number(step.std, " ±{:.2f}"),
            show_number(step.delta, "{:+.2f}"),
            show_count(step.macs),
            show_count(step.mean(lambda r: r.cost.params)),
            show_number(step.mean(lambda r: r.seconds), "{:.1f}"),
            *[show_number(step.rung.paper_top1)] * published,
        ]
        table.add_row(title, *(measures if step.results else []), style="" if step.rung.adopted else "dim")
    return table


def count_costs(rungs: Sequence[Rung], image_size: int = 224) -> list[Cost]:
    """The costs of each rung's network with 1,000 classes, layer scale included where its recipe has one."""
    costs = []
    for rung in rungs:
        with torch.device("meta"):
            net = PathNet(rung.flags, rung.scale, layer_scale=None if rung.recipe == "original" else 1e-6)
        costs.append(cost(net, image_size))
    return costs


def cost_rows(ladder: str, rungs: Sequence[Rung], costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """A row a rung: counts in units, ``gmacs`` (1e9) beside the published figure and their difference."""
    return [
        {
            "ladder": ladder,
            "rung": rung.name,
            "title": rung.title,
            "gmacs": round(c.paper_macs / 1e9, 4),
            "paper_gmacs": rung.paper_gmacs,
            "difference": None if rung.paper_gmacs is None else round(c.paper_macs / 1e9 - rung.paper_gmacs, 4),
            "params": c.params,
            "activations": c.activations,
            "macs": c.paper_macs,
            "macs_all": c.all_macs,
            "macs_by_operator": dict(c.macs),
        }
        for rung, c in zip(rungs, costs, strict=True)
    ]


def show_costs(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """The costs for the screen, in 1e9; rows that do not agree with the paper stand out."""
    caption = "1e9 multiply-accumulates; GMACs: conv and linear, as the paper counts; norm: with pooling"
    table = Table(title=title, caption=caption, box=box.SIMPLE, show_edge=False, padding=0)
    table.add_column("rung")
    for column in ("GMACs", "paper", "diff", "conv", "linear", "norm", "params", "activ."):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        operators = row["macs_by_operator"]
        table.add_row(
            row["rung"],
            format(row["gmacs"], ".2f" if row["gmacs"] > 0.1 else ".4f"),
            show_number(row["paper_gmacs"]),
            show_number(row["difference"], "{:+.3f}"),
            *(format(operators[name] / 1e9, ".4f") for name in ("conv", "linear")),
            format((row["macs_all"] - row["macs"]) / 1e9, ".4f"),
            show_count(row["params"]),
            show_count(row["activations"]),
            style="" if agrees(row) else "yellow",
        )
    return table


def agrees(row: dict[str, Any]) -> bool:
    """Whether the count rounds to the printed figure; without one there is nothing to disagree with."""
    return row["paper_gmacs"] is None or format(row["gmacs"], ".2f") == format(row["paper_gmacs"], ".2f")


def show_number(number: float | None, form: str = "{:.2f}") -> str:
    """A number, or nothing for one that there is not."""
    return "" if number is None or math.isnan(number) else form.format(number)


def show_count(number: float) -> str:
    """A large count in three digits: 25.6M, 4.09G; nothing for not a number."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            return format(number / size, "#.3g").rstrip(".") + unit
    return show_number(number, "{:.0f}")
