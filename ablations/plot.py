"""A study's charts: accuracy by step in the form of the paper's Figure 2, and accuracy against MACs as a road.

Drawn from steps alone. Nothing is told by colour only: steps are labelled, tried ones are hatched or hollow.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ablations.tables import Step, show_count

STYLE: dict[Any, object] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "grid.color": "#dddddd",
    "hatch.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "convnext-path",
    "savefig.dpi": 150,
}
INK, PALE, BAR, ROAD = "#222222", "#666666", "#4477aa", "#cc6677"  # after Tol; they differ in grey too


def plot_study(folder: Path, title: str, steps: Sequence[Step]) -> list[Path]:
    """Write each chart as PNG and SVG into ``folder``; return the files."""
    return [
        *save_chart(folder / "accuracy", lambda: draw_steps(steps, title)),
        *save_chart(folder / "road", lambda: draw_road(steps, title)),
    ]


def save_chart(file: Path, draw: Callable[[], Figure]) -> list[Path]:
    """Draw in our style and write as PNG and SVG beside each other; return the files."""
    files = [file.with_name(f"{file.name}.{suffix}") for suffix in ("png", "svg")]
    with mpl.rc_context(STYLE):
        figure = draw()
        figure.savefig(files[0])
        figure.savefig(files[1], metadata={"Date": None})
    return files


def draw_steps(steps: Sequence[Step], title: str) -> Figure:
    """A bar a step, grouped by the paper's sections; a dot a seed; MACs beside each bar."""
    sections = [step.rung.section for step in steps]
    opens = [i == 0 or sections[i] != sections[i - 1] for i in range(len(steps))]
    places = np.arange(len(steps)) + 0.9 * np.cumsum(opens)
    figure = Figure(figsize=(8, 1.3 + 0.3 * places[-1]), layout="constrained")
    axes = figure.add_subplot()
    low, high = axis_limits(steps)
    for step, place, first in zip(steps, places, opens, strict=True):
        draw_bar(axes, step, place, low)
        write_beside(axes, 1.02, place, show_count(step.macs), color=PALE)
        if first:
            write_beside(axes, 0.008, place - 0.85, step.rung.section, weight="bold")
    write_beside(axes, 1.02, places[0] - 0.85, "MACs", color=PALE, weight="bold")
    axes.set_yticks(places, [step.rung.title for step in steps])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(places[-1] + 0.7, places[0] - 1.4)
    axes.set_xlim(low, high + 0.08 * (high - low))
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= 100])
    n = steps[0].seeds
    seeds = f"mean and dots: {n} seeds" if n > 1 else "1 seed"
    axes.set_xlabel(f"top-1 accuracy (%), {seeds}; the axis starts at {low:g}")
    axes.set_title(f"{title}: accuracy by step", parse_math=False)  # a folder may be named $x^2$
    return figure


def draw_bar(axes: Axes, step: Step, place: float, low: float) -> None:
    """One step's bar from the axis' start, its seeds and its mean; hatched where the step was not adopted."""
    if not step.results:
        axes.text(low, place, f"  {step.gap}", va="center", color=PALE, style="italic")
        return
    face, hatch = (BAR, "") if step.rung.adopted else ("white", "////")
    axes.barh(place, step.top1 - low, left=low, height=0.75, color=face, edgecolor=BAR, hatch=hatch)
    axes.plot(step.accuracies, [place] * len(step.results), "o", ms=3.5, mfc="white", mec=INK, mew=0.8)
    end = (max(step.accuracies), place)
    label = f"{step.top1:.1f}{f'  ({step.gap})' if step.gap else ''}"
    axes.annotate(label, end, (7, 0), textcoords="offset points", va="center", color=INK)


def write_beside(axes: Axes, x: float, y: float, text: str, **style: str) -> None:
    """Text at a share ``x`` of the width and at ``y`` of the data."""
    axes.text(x, y, text, transform=axes.get_yaxis_transform(), va="center", **style)  # type: ignore[arg-type]


def axis_limits(steps: Sequence[Step]) -> tuple[float, float]:
    """Round limits below the lowest and above the highest accuracy, so that differences show."""
    values = [value for step in steps for value in step.accuracies]
    if not values:
        return 0.0, 100.0
    spread = max(values) - min(values)
    unit = next(unit for unit in (0.5, 1, 2, 5, 10, math.inf) if unit >= spread / 6)
    unit = min(unit, 20)
    return max(unit * math.floor(min(values) / unit - 0.5), 0), min(unit * math.ceil(max(values) / unit), 100)


def draw_road(steps: Sequence[Step], title: str) -> Figure:
    """Accuracy against MACs: a line through the adopted steps from start to end, side roads to those tried."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    road = [step for step in steps if step.results and step.rung.adopted]
    axes.plot([step.macs for step in road], [step.top1 for step in road], "-", color=ROAD, lw=2, zorder=1)
    for number, step in enumerate(steps, 1):
        if not step.results:
            continue
        face, ink = (ROAD, "white") if step.rung.adopted else ("white", INK)
        label = f"{number:\u2007>2}  {step.rung.title}"  # a space as wide as a digit
        axes.plot(step.macs, step.top1, "o", ms=13, mfc=face, mec=INK, zorder=2, label=label)
        axes.text(step.macs, step.top1, f"{number}", ha="center", va="center_baseline", size=8, color=ink, zorder=3)
        if step.base and not step.rung.adopted:
            ends = [step.base.macs, step.macs], [step.base.top1, step.top1]
            axes.plot(*ends, ":", color=INK, lw=1, zorder=1)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("multiply-accumulates an image (convolutions and classifier)")
    axes.set_ylabel("top-1 accuracy (%)")
    axes.set_title(f"{title}: the road", parse_math=False)
    if road:
        add_legend(figure, axes, "hollow: tried, not adopted")
    return figure


def add_legend(figure: Figure, axes: Axes, title: str) -> None:
    """List beside the charts what the numbers in the points of ``axes`` stand for."""
    handles, labels = axes.get_legend_handles_labels()
    bare = {"frameon": False, "handlelength": 0, "handletextpad": 0, "markerscale": 0}
    figure.legend(handles, labels, loc="outside right upper", title=title, **bare)
