"""The picture of the front page: the paper's road beside our counts, and what each step changes in a study of ours."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.analysis.stats import Step
from ablations.report.changes import draw_change, find_reach
from ablations.report.rows import ROW, fit_names, measure_rows, name_rows, place_rows
from ablations.report.style import BAR, INK, PALE, PAPER, ROAD, start_chart, write_below, write_beside
from convnext_path import Rung


class Line(NamedTuple):
    """A step: as published, as counted here, and as a study of ours found it."""

    rung: Rung
    gmacs: float
    agrees: bool  # with the paper's count, to the digit that it prints
    step: Step | None


def draw_front(lines: Sequence[Line], images: str) -> Figure:
    """Three columns, a line per step: the paper's accuracy, our count, the change in our study on ``images``."""
    labels = fit_names([line.rung.title for line in lines])
    places = place_rows(labels)
    height = ROW * float(measure_rows(labels).sum())
    figure = start_chart("From ResNet-50 to ConvNeXt-T, one design step per line", 1.2 + height, width=9.6)
    columns = figure.subplots(1, 3, sharey=True, width_ratios=(1.0, 0.7, 1.0))
    titles = "top-1 (%), paper", "GMACs, our count", f"change in top-1 on {images}, ours"
    draw = draw_published, draw_counts, draw_changes
    for axes, title, draw_column in zip(columns, titles, draw, strict=True):
        draw_column(axes, lines, [float(place) for place in places])
        axes.set_title(title, size=9.5, loc="left")
        axes.tick_params(axis="y", length=0)
    name_rows(columns[0], places, labels)
    columns[0].set_ylim(height / ROW - 0.4, -0.6)
    told = "line at the right: 95 % confidence interval; ◇: the paper's change on ImageNet"
    write_below(figure, f"hollow: tried, not adopted; {told}")
    return figure


def draw_published(axes: Axes, lines: Sequence[Line], places: Sequence[float]) -> None:
    """The paper's accuracies with their standard deviations; hollow where the step was tried and not adopted."""
    rungs = [line.rung for line in lines]
    adopted = [(rung.paper_top1, place) for rung, place in zip(rungs, places, strict=True) if rung.adopted]
    axes.plot(*zip(*adopted, strict=True), "-", color=BAR, lw=1.2, zorder=2)
    for rung, place in zip(rungs, places, strict=True):
        mean, spread = rung.paper_top1 or math.nan, rung.paper_std or 0.0
        axes.plot([mean - spread, mean + spread], [place] * 2, "-", color=BAR, lw=1.8, zorder=3)
        axes.plot(mean, place, "o", ms=6, mfc=BAR if rung.adopted else PAPER, mec=BAR, zorder=4)
        write_beside(axes, 1.02, place, f"{mean:.2f}", color=INK)
    axes.margins(x=0.06)


def draw_counts(axes: Axes, lines: Sequence[Line], places: Sequence[float]) -> None:
    """Our counts as bars, and what the paper prints where that is another number."""
    axes.barh(places, [line.gmacs for line in lines], height=0.55, color=PALE)
    for line, place in zip(lines, places, strict=True):
        printed = "" if line.agrees else f" (paper {line.rung.paper_gmacs:.2f})"
        write_beside(axes, 1.02, place, f"{line.gmacs:.2f}{printed}", color=ROAD if printed else INK)


def draw_changes(axes: Axes, lines: Sequence[Line], places: Sequence[float]) -> None:
    """Changes with their intervals, and the paper's; the recipe's, far larger than all others, is cut."""
    changed = [(line.step, place) for line, place in zip(lines, places, strict=True) if line.step and line.step.base]
    reach = 1.05 * max(find_reach(step) for step, _ in changed if step.rung.change[0] != "recipe")
    axes.axvline(0, color=INK, lw=1)
    for step, place in changed:
        draw_change(axes, step, place, reach)
    axes.set_xlim(-reach, reach)
