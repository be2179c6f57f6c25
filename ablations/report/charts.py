"""A study's charts, drawn from steps alone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, MaxNLocator, StrMethodFormatter

from ablations.analysis.stats import Step, is_ladder, name_row
from ablations.analysis.tables import show_count, show_estimate
from ablations.report.confusion import Kept, draw_confusions
from ablations.report.style import (
    BAR,
    INK,
    PACE,
    PALE,
    PAPER,
    ROAD,
    Chart,
    Point,
    Timed,
    add_legend,
    draw_numbers,
    draw_points,
    save_chart,
    spread,
    write_beside,
)
from ablations.study.trial import Result
from convnext_path.ladder import MODEL


def plot_study(folder: Path, title: str, steps: Sequence[Step], answers: Kept | None = None) -> list[Path]:
    """Write each chart as PNG and SVG into ``folder``; return the files. ``answers``: by the networks' titles."""
    charts = list_charts(title, steps, answers)
    return [file for name, draw in charts.items() for file in save_chart(folder / name, draw)]


def list_charts(title: str, steps: Sequence[Step], answers: Kept | None = None) -> dict[str, Callable[[], Figure]]:
    """What draws each chart that there is of such steps, by the chart's name."""
    return {
        "accuracy": partial(draw_steps, steps, title),
        **({"changes": partial(draw_changes, steps, title)} if is_ladder(steps) else {}),
        "road": partial(draw_road, steps, title, MACS),
        "road-seconds": partial(draw_road, steps, title, SECONDS),
        "curves": partial(draw_curves, steps, title),
        "times": partial(draw_times, steps, title),
        **({"confusion": partial(draw_confusions, answers, title)} if answers else {}),
    }


def draw_steps(steps: Sequence[Step], title: str) -> Figure:
    """A bar a step, grouped by the paper's sections; a dot a seed; MACs beside each bar."""
    sections = [step.rung.section for step in steps]
    opens = [i == 0 or sections[i] != sections[i - 1] for i in range(len(steps))]
    places = np.arange(len(steps)) + 0.9 * np.cumsum(opens)
    figure = Chart(figsize=(8, 1.3 + 0.3 * places[-1]), layout="constrained")
    axes = figure.add_subplot()
    low, high = axis_limits(steps)
    for step, place, first in zip(steps, places, opens, strict=True):
        draw_bar(axes, step, place, low)
        write_beside(axes, 1.02, place, show_count(step.macs), color=PALE)
        if first:
            write_beside(axes, 0.008, place - 0.85, step.rung.section, weight="bold")
    write_beside(axes, 1.02, places[0] - 0.85, "MACs", color=PALE, weight="bold")
    for step in list_references(steps):
        axes.axvline(step.top1.mean, color=PALE, lw=1, ls=":", zorder=0)
    axes.set_yticks(places, [step.rung.title for step in steps])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(places[-1] + 0.7, places[0] - 1.4)
    room = 0.4 if any(step.results and step.gap for step in steps) else 0.08  # for the words at the end of a bar
    axes.set_xlim(low, high + room * (high - low))
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= 100])
    n = steps[0].seeds
    seeds = f"mean and dots: {n} seeds" if n > 1 else "1 seed"
    axes.set_xlabel(f"top-1 accuracy (%), {seeds}; the axis starts at {low:g}")
    axes.set_title(f"{title}: accuracy by {name_row(steps)}", parse_math=False)  # a folder may be named $x^2$
    return figure


def list_references(steps: Sequence[Step]) -> list[Step]:
    """The networks beside the ladder that have a result; none where there is no ladder."""
    return [step for step in steps if is_ladder(steps) and step.rung.is_reference and step.results]


def draw_bar(axes: Axes, step: Step, place: float, low: float) -> None:
    """One step's bar from the axis' start, its seeds and its mean; hatched where the step was not adopted.

    A reference's is hollow.
    """
    if not step.results:
        axes.text(low, place, f"  {step.gap}", va="center", color=PALE, style="italic")
        return
    full = step.rung.adopted or step.rung.section == MODEL
    face, hatch = BAR if full else PAPER, "////" if step.rung.is_tried else ""
    axes.barh(place, step.top1.mean - low, left=low, height=0.75, color=face, edgecolor=BAR, hatch=hatch)
    axes.plot(step.accuracies, [place] * len(step.results), "o", ms=3.5, mfc=PAPER, mec=INK, mew=0.8)
    published = step.rung.paper_top1
    if published is not None:
        axes.plot([published] * 2, [place - 0.45, place + 0.45], "-", color=PALE, lw=2.5, zorder=3)
    end = (max(*step.accuracies, published or 0), place)
    label = f"{step.top1.mean:.1f}{f'  ({step.gap})' if step.gap else ''}"
    axes.annotate(label, end, (7, 0), textcoords="offset points", va="center", color=INK)


def axis_limits(steps: Sequence[Step]) -> tuple[float, float]:
    """Round limits below the lowest and above the highest accuracy, so that differences show."""
    values = [value for step in steps for value in step.accuracies]
    values += [step.rung.paper_top1 for step in steps if step.results and step.rung.paper_top1 is not None]
    if not values:
        return 0.0, 100.0
    spread = max(values) - min(values)
    unit = next(unit for unit in (0.5, 1, 2, 5, 10, math.inf) if unit >= spread / 6)
    unit = min(unit, 20)
    return max(unit * math.floor(min(values) / unit - 0.5), 0), min(unit * math.ceil(max(values) / unit), 100)


def draw_changes(steps: Sequence[Step], title: str) -> Figure:
    """A change a line: its mean and 95 % interval, and the paper's."""
    changed = [step for step in steps if step.base]
    figure = Chart(figsize=(8, 1.5 + 0.3 * max(len(changed), 1)), layout="constrained")
    axes = figure.add_subplot()
    reach = change_limit(changed)
    axes.axvline(0, color=INK, lw=1)
    for place, step in enumerate(changed):
        draw_change(axes, step, place, reach)
    axes.set_yticks(range(len(changed)), [step.title for step in changed])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(changed) - 0.4, -0.6)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("change of top-1, points; line: 95 % interval; hollow: not adopted; ◇: the paper's, on ImageNet")
    axes.set_title(f"{title}: what each step buys", parse_math=False)
    return figure


def change_limit(steps: Sequence[Step]) -> float:
    """How far the axis goes to both sides: over all designs' changes; one of another recipe may lie beyond."""
    changes = [c for s in steps if s.rung.change[0] != "recipe" for c in (s.change.mean, s.paper_change)]
    return 1.6 * max((abs(change) for change in changes if not math.isnan(change)), default=1) or 1.0


def draw_change(axes: Axes, step: Step, place: float, reach: float) -> None:
    """One change, its interval cut at the axis' ends, and in words beside."""
    change, published = step.change, step.paper_change
    if not math.isnan(published):
        draw_mark(axes, published, place, reach, "D", ms=6, mfc=PAPER, mec=PALE, zorder=2)
    if not change.n:
        write_beside(axes, 1.02, place, step.gap or "no pair", color=PALE, style="italic")
        return
    ends = np.clip([change.low, change.high], -reach, reach)
    face = ROAD if step.rung.adopted else PAPER
    axes.plot(ends, [place] * 2, "-", color=ROAD, lw=1.8, zorder=3)
    for end, is_cut in ((change.low, change.low < -reach), (change.high, change.high > reach)):
        if is_cut:
            draw_mark(axes, end, place, reach, "", ms=5, color=ROAD, zorder=3, clip_on=False)
    draw_mark(axes, change.mean, place, reach, "o", ms=7, mfc=face, mec=INK, zorder=4, clip_on=False)
    doubt = "  cannot tell" if step.verdict == "cannot tell" else ""
    write_beside(axes, 1.02, place, f"{show_estimate(change, '{:+.2f}')}{doubt}", color=PALE if doubt else INK)


def draw_mark(axes: Axes, x: float, y: float, reach: float, mark: str, **style: Any) -> None:
    """A point, or an arrow to where it lies beyond the axis."""
    beyond = abs(x) > reach
    axes.plot(np.clip(x, -reach, reach), y, ("<" if x < 0 else ">") if beyond else mark, **style)


@dataclass(frozen=True)
class Price:
    """What a step costs, for an axis."""

    label: str
    of: Callable[[Step], float]
    form: Formatter


MACS = Price("multiply-accumulates an image, norms aside", lambda step: step.macs, EngFormatter(sep=""))
SECONDS = Price(
    "seconds a training", lambda step: step.mean(lambda result: result.seconds), StrMethodFormatter("{x:g}")
)


def draw_road(steps: Sequence[Step], title: str, price: Price) -> Figure:
    """Accuracy against a price: a line through the adopted steps from start to end, side roads to those tried."""
    figure = Chart(figsize=(8, max(4.8, 0.9 + 0.21 * len(steps))), layout="constrained")
    axes = figure.add_subplot()
    shown = [(number, step) for number, step in enumerate(steps, 1) if step.results]
    low, high = road_limits([step for _, step in shown])
    places = {step.rung.name: (price.of(step), max(step.top1.mean, low)) for _, step in shown}
    road = [places[step.rung.name] for _, step in shown if step.rung.adopted]
    if road:
        axes.plot(*zip(*road, strict=True), "-", color=ROAD, lw=2, zorder=1)
    points = []
    for number, step in shown:
        place, below = places[step.rung.name], f": {step.top1.mean:.1f} %" if step.top1.mean < low else ""
        points.append(Point(*place, number, f"{step.rung.title}{below}", hollow=bool(road) and not step.rung.adopted))
        if step.base and not step.rung.adopted and step.base.results:
            axes.plot(*zip(places[step.base.rung.name], place, strict=True), ":", color=INK, lw=1, zorder=1)
    for step in list_references([step for _, step in shown]):
        axes.axhline(max(step.top1.mean, low), color=PALE, lw=1, ls=":", zorder=0)
    axes.set_xlim(*spread([point.x for point in points] or [0.0, 1.0]))
    axes.set_ylim(low, high)
    draw_numbers(axes, points)
    axes.xaxis.set_major_formatter(price.form)
    axes.set_xlabel(price.label)
    axes.set_ylabel("top-1 accuracy (%)")
    axes.set_title(f"{title}: {'the road' if road else 'accuracy against cost'}", parse_math=False)
    if shown:
        add_legend(figure, axes, "hollow: not on the road" if road else "")
    return figure


def road_limits(steps: Sequence[Step]) -> tuple[float, float]:
    """Limits around the designs; the original recipe and references may lie below, and are drawn at the edge."""
    means = [step.top1.mean for step in steps] or [0.0, 100.0]
    designs = [s.top1.mean for s in steps if s.rung.recipe != "original" and not s.rung.is_reference] or means
    return spread([max(mean, min(designs)) for mean in means])


def draw_curves(steps: Sequence[Step], title: str) -> Figure:
    """A panel a step: validation accuracy by epoch, a line a seed; pale, means of what it is compared with."""
    columns, lines, of_ladder = 4, math.ceil(len(steps) / 4), is_ladder(steps)
    figure = Chart(figsize=(2.4 * columns, 1.7 * lines + 0.7), layout="constrained")
    panels = [*figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat]
    for axes, step in zip(panels, steps, strict=False):
        for other in [step.base] if step.base else [s for s in steps if s is not step and not of_ladder]:
            axes.plot(*average_curve(other), ".--", ms=3, color=PALE, lw=1, alpha=1 if step.base else 0.4)
        for result in step.results:
            axes.plot(*zip(*read_curve(result), strict=True), ".-", ms=3, color=BAR, lw=1.2)
        axes.set_title(fill(step.rung.title, 32), size=8, weight="normal")
        if step.gap:
            axes.text(0.96, 0.06, step.gap, transform=axes.transAxes, ha="right", color=PALE, style="italic", size=8)
    for axes in panels[len(steps) :]:
        axes.set_axis_off()
    panels[0].xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    figure.suptitle(f"{title}: learning curves", x=0, ha="left", weight="bold", parse_math=False)
    figure.supxlabel(f"epoch; dashed: {'the step before, mean of its' if of_ladder else 'the others, means of'} seeds")
    figure.supylabel("validation top-1 (%)")
    return figure


def read_curve(result: Result) -> list[tuple[int, float]]:
    """Epochs that were validated, and their accuracies."""
    return [(epoch.epoch, epoch.top1) for epoch in result.curve if epoch.top1 is not None]


def average_curve(step: Step) -> tuple[list[int], list[float]]:
    """The epochs that all seeds were validated at, and the mean of their accuracies."""
    curves = [dict(read_curve(result)) for result in step.results]
    epochs = sorted(set.intersection(*map(set, curves))) if curves else []
    return epochs, [fmean(curve[epoch] for curve in curves) for epoch in epochs]


def draw_times(steps: Sequence[Step], title: str) -> Figure:
    """Measured training time against MACs, a point a step, with the range over seeds."""
    figure = Chart(figsize=(8, max(4.8, 0.9 + 0.21 * len(steps))), layout="constrained")
    axes = figure.add_subplot()
    points = []
    for number, step in enumerate(steps, 1):
        times = [1000 / result.images_per_second for result in step.results]
        if times:
            points.append(Timed(number, step.rung.title, step.macs, min(times), fmean(times), max(times)))
    axes.set_xlabel(MACS.label)
    axes.set_ylabel("milliseconds of training an image")
    axes.set_title(f"{title}: cost against time", parse_math=False)
    if points:
        draw_points(axes, points)
        add_legend(figure, axes, PACE)
    return figure
