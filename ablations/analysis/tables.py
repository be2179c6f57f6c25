"""Results and costs as rows: for files, for the screen, for the charts."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table

from ablations.analysis.stats import LEVEL, Agreement, Estimate, Step, agree, is_ladder, name_row
from convnext_path import LADDERS, RECIPES, Cost, Rung
from convnext_path.counting import count_network
from convnext_path.words import show_name


def to_frame(steps: Iterable[Step]) -> pd.DataFrame:
    """The content of ``results.csv``: accuracies in percent, changes in points, seconds a trial, memory in MB."""
    return pd.DataFrame(
        {
            "rung": show_name(step.rung.name),
            "title": show_name(step.rung.title),
            "section": show_name(step.rung.section),
            "adopted": step.rung.adopted,
            "n": step.top1.n,
            "top1": step.top1.mean,
            "std": step.top1.std,
            "low": step.top1.low,
            "high": step.top1.high,
            "base": show_name(step.base.rung.name) if step.base else None,
            "change_n": step.change.n,
            "change": step.change.mean,
            "change_low": step.change.low,
            "change_high": step.change.high,
            "p": step.p,
            "verdict": step.verdict,
            "top5": step.mean(lambda r: r.top5),
            "macs": step.macs,
            "params": step.mean(lambda r: r.cost.params),
            "activations": step.mean(lambda r: r.cost.activations),
            "seconds": step.mean(lambda r: r.seconds),
            "images_per_second": step.mean(lambda r: r.images_per_second),
            "peak_memory_mb": step.mean(lambda r: r.peak_memory / 1e6),
            "paper_top1": step.rung.paper_top1,
            "paper_std": step.rung.paper_std,
            "paper_change": step.paper_change,
            "paper_gmacs": step.rung.paper_gmacs,
        }
        for step in steps
    )


@dataclass(frozen=True)
class Measure:
    """A column of a table of steps: a number, which is not one where there is none, and how it is written."""

    value: Callable[[Step], float]
    show: Callable[[Step], str]


def make_measure(value: Callable[[Step], float], form: str) -> Measure:
    return Measure(value, lambda step: show_number(value(step), form))


def make_count(value: Callable[[Step], float]) -> Measure:
    return Measure(value, lambda step: show_count(value(step)))


#: What is told of a step on screen, page and in Markdown. "paper": its change of top-1; "images/s" of training;
#: "s" and "MB": of a trial.
MEASURES = {
    "top-1 %": Measure(lambda step: step.top1.mean, lambda step: show_estimate(step.top1) or step.gap),
    "change": Measure(lambda step: step.change.mean, lambda step: show_estimate(step.change, "{:+.2f}")),
    "p": make_measure(lambda step: step.p, "{:.3f}"),
    "paper": make_measure(lambda step: step.paper_change, "{:+.2f}"),
    "MACs": make_count(lambda step: step.macs),
    "params": make_count(lambda step: step.mean(lambda result: result.cost.params)),
    "images/s": make_measure(lambda step: step.mean(lambda result: result.images_per_second), "{:.0f}"),
    "s": make_measure(lambda step: step.mean(lambda result: result.seconds), "{:.1f}"),
    "MB": make_measure(lambda step: step.mean(lambda result: result.peak_memory / 1e6), "{:.0f}"),
    "seeds": make_measure(lambda step: step.top1.n, "{:.0f}"),
}


#: What the screen has room for: of steps, and of networks that change nothing.
STEPPED = ("top-1 %", "change", "p", "paper", "MACs", "s")
COMPARED = ("top-1 %", "MACs", "params", "images/s", "s", "MB")


def show_results(steps: Sequence[Step]) -> Table:
    """The steps for the screen."""
    columns, signs = (STEPPED, [SIGNS]) if is_ladder(steps) else (COMPARED, [])
    caption = " ".join((*explain(steps), *weigh(steps), *signs))
    table = Table(caption=caption, box=box.SIMPLE, show_edge=False, padding=0)
    table.add_column(name_row(steps), overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for step in steps:
        gap = f" ({step.gap})" if step.results and step.gap else ""
        cells = {column: MEASURES[column].show(step) for column in columns}
        if step.verdict == "cannot tell":
            cells["change"] += " ?"
        title = f"{'× ' if step.rung.is_tried else ''}{show_name(step.title)}{gap}"
        table.add_row(escape(title), *cells.values(), style="dim" if step.rung.is_tried else "")
    return table


SIGNS = "?: cannot tell, the interval contains zero or is missing. ×: tried, not adopted."


def explain(steps: Sequence[Step]) -> list[str]:
    """Sentences about the columns that a table of steps has."""
    n = max(len(step.results) for step in steps)
    one = f"One seed: no intervals{', so no change can be told from chance' * is_ladder(steps)}."
    flips = " (of a flip: from its own rung)" if any(step.rung.base for step in steps) else ""
    told = [f"{n} seeds. ±: half the 95 % confidence interval." if n > 1 else one]
    if is_ladder(steps):
        told.append(f"change: in points, from the last adopted step{flips}, seed by seed.")
    if any(not math.isnan(step.p) for step in steps):
        told.append("p: how often chance alone would give such a change, after Holm's correction.")
    if any(not math.isnan(step.paper_change) for step in steps):
        told.append("paper: the change in the paper, on ImageNet.")
    return [*told, "MACs: multiply-accumulates per image. s: seconds per trial."]


def weigh(steps: Sequence[Step]) -> list[str]:
    """Sentences about all changes together."""
    return [sentence for sentence in (describe_correction(steps), describe_agreement(agree(steps))) if sentence]


def describe_correction(steps: Sequence[Step]) -> str:
    """What is left of the changes when chance has had as many tries; empty for fewer than two."""
    ps = [step.p for step in steps if not math.isnan(step.p)]
    told = sum(p < 1 - LEVEL for p in ps)
    return (
        f"After Holm's correction for {len(ps)} changes, p is below 0.05 for {told or 'none'} of them."
        if len(ps) > 1
        else ""
    )


def describe_agreement(agreement: Agreement) -> str:
    """Our changes beside the paper's, in a sentence; empty where there are none to compare."""
    if not agreement.signed:
        return ""
    rank = show_number(agreement.rank, "; rank correlation {:+.2f}")
    low, high = show_number(agreement.low, " (95 % interval {:+.2f}"), show_number(agreement.high, " to {:+.2f})")
    return f"{agreement.signs} of {agreement.signed} changes have the same sign as in the paper{rank}{low}{high}."


def show_estimate(estimate: Estimate, form: str = "{:.2f}") -> str:
    """A mean and half its interval, in two digits where that is small: "94.17 ±1.8"."""
    margin = " ±{:.0f}" if estimate.margin >= 10 else " ±{:.2g}"
    return show_number(estimate.mean, form) + show_number(estimate.margin, margin)


def count_costs(rungs: Sequence[Rung], image_size: int = 224) -> list[Cost]:
    """The costs of each rung's network with 1,000 classes, layer scale included where its recipe has one."""
    return [count_cost(rung, image_size) for rung in rungs]


def count_cost(rung: Rung, image_size: int) -> Cost:
    return count_network(rung.flags, rung.scale, RECIPES["imagenet"][rung.recipe], 1000, 3, image_size)


def count_ladder(name: str, image_size: int) -> list[dict[str, Any]]:
    """A row for each rung of a ladder."""
    return cost_rows(name, LADDERS[name], count_costs(LADDERS[name], image_size))


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
    caption = (
        "GMACs: 1e9 multiply-accumulates per image without norms and pooling, as the papers count. "
        "conv to norm: GMACs by kind of layer."
    )
    table = Table(title=title, caption=caption, box=box.SIMPLE, show_edge=False, padding=0)
    table.add_column("rung")
    parts = [split_macs(row) for row in rows]
    kinds = [kind for kind in parts[0] if any(part[kind] for part in parts)]
    for column in ("GMACs", "paper", "diff", *kinds, "params", "activ."):
        table.add_column(column, justify="right", no_wrap=True)
    for row, part in zip(rows, parts, strict=True):
        table.add_row(
            row["rung"],
            format(row["gmacs"], ".2f" if row["gmacs"] > 0.1 else ".4f"),
            show_number(row["paper_gmacs"]),
            show_number(row["difference"], "{:+.3f}"),
            *(format(part[kind] / 1e9, ".4f") for kind in kinds),
            show_count(row["params"]),
            show_count(row["activations"]),
            style="" if agrees(row) else "yellow",
        )
    return table


def split_macs(row: Mapping[str, Any]) -> dict[str, int]:
    """Multiply-accumulates of a row by kind; those of attention are products of no layer."""
    conv, linear = (row["macs_by_operator"].get(name, 0) for name in ("conv", "linear"))
    return {"conv": conv, "linear": linear, "attn.": row["macs"] - conv - linear, "norm": row["macs_all"] - row["macs"]}


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
