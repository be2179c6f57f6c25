"""A study's charts, drawn from steps alone."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablations.analysis.stats import Step, is_ladder, name_row
from ablations.analysis.tables import show_count
from ablations.report.changes import draw_changes
from ablations.report.confusion import Kept, draw_confusions, has_confusions
from ablations.report.lettering import fit, measure_height
from ablations.report.roads import MACS, SECONDS, draw_road, draw_times, has_road, has_times, list_references
from ablations.report.rows import ROW, fit_names, measure_rows, name_rows, place_rows
from ablations.report.style import (
    BAR,
    INK,
    LINE,
    PALE,
    PAPER,
    SUFFIXES,
    save_chart,
    start_chart,
    write_below,
    write_beside,
)
from ablations.study.entries import clear
from ablations.study.trial import Result
from convnext_path.ladder import MODEL

HEADS, PANEL = 260.0, 145.0  # how wide the names of sections and of small panels are, in points of type

#: Every chart that a study may have.
CHARTS = ("accuracy", "changes", "road", "road-seconds", "curves", "times", "confusion")

MOST = 100  # steps in a chart: a picture has no room for more


def plot_study(folder: Path, title: str, steps: Sequence[Step], answers: Kept | None = None) -> list[Path]:
    """Write each chart as PNG and SVG into ``folder``; return the files. ``answers``: by the networks' titles.

    What has the name of a chart of which there is none goes aside: an earlier call drew it, or somebody else.
    """
    charts = list_charts(title, steps, answers)
    for name in CHARTS:
        for suffix in SUFFIXES if name not in charts else ():
            clear(folder / f"{name}.{suffix}", folder / "aside")
    return [file for name, draw in charts.items() for file in save_chart(folder / name, draw)]


def list_charts(title: str, steps: Sequence[Step], answers: Kept | None = None) -> dict[str, Callable[[], Figure]]:
    """What draws each chart that there is of such steps, by the chart's name."""
    if len(steps) > MOST:
        title, steps = f"{title}, the first {MOST} of {len(steps)}", steps[:MOST]
    there = {
        "accuracy": bool(steps),
        "curves": bool(steps),
        "changes": is_ladder(steps),
        "road": has_road(steps, MACS),
        "road-seconds": has_road(steps, SECONDS),
        "times": has_times(steps),
        "confusion": has_confusions(answers),
    }
    draw = {
        "accuracy": partial(draw_steps, steps, title),
        "changes": partial(draw_changes, steps, title),
        "road": partial(draw_road, steps, title, MACS),
        "road-seconds": partial(draw_road, steps, title, SECONDS),
        "curves": partial(draw_curves, steps, title),
        "times": partial(draw_times, steps, title),
        "confusion": partial(draw_confusions, answers or {}, title),
    }
    return {name: draw[name] for name in CHARTS if there.get(name, True)}


def draw_steps(steps: Sequence[Step], title: str) -> Figure:
    """A bar a step, grouped by the paper's sections; a dot a seed; MACs beside each bar."""
    labels, heads = fit_names([step.rung.title for step in steps]), list_heads(steps)
    gaps = [0.3 + 0.6 * measure_height(head) if head else 0.0 for head in heads]
    places, heights = place_rows(labels, gaps), measure_rows(labels)
    tops, end = places - heights / 2, places[-1] + heights[-1] / 2
    figure = start_chart(f"{title}: accuracy per {name_row(steps)}", 0.9 + ROW * end)
    axes = figure.add_subplot()
    low, high = axis_limits(steps)
    write_beside(axes, 1.02, tops[0] - 0.35, "MACs", color=PALE, weight="bold")
    for step, place, top, head in zip(steps, places, tops, heads, strict=True):
        draw_bar(axes, step, place, low)
        write_beside(axes, 1.02, place, show_count(step.macs), color=PALE)
        write_beside(axes, 0.008, top - 0.05 - 0.3 * measure_height(head), head, weight="bold")
    for step in list_references(steps):
        axes.axvline(step.top1.mean, color=PALE, lw=1, ls=":", zorder=0)
    name_rows(axes, places, labels)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(end + 0.2, -0.5)
    scale_accuracy(axes, low, high, any(step.results and step.gap for step in steps))
    n = steps[0].seeds
    seeds = f"mean of {n} seeds, one dot per seed" if n > 1 else "1 seed"
    write_below(figure, f"top-1 accuracy (%), {seeds}; the axis starts at {low:g}")
    return figure


def scale_accuracy(axes: Axes, low: float, high: float, has_gaps: bool) -> None:
    """Limits with room for the words at the ends of bars; ticks up to 100 %."""
    axes.set_xlim(low, high + (0.4 if has_gaps else 0.08) * (high - low))
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= 100])


def list_heads(steps: Sequence[Step]) -> list[str]:
    """Above the first step of each section its name, in lines; nothing above the others."""
    sections = [step.rung.section for step in steps]
    opens = [i == 0 or sections[i] != sections[i - 1] for i in range(len(steps))]
    return [fit(section, HEADS, weight="bold") if first else "" for section, first in zip(sections, opens, strict=True)]


def draw_bar(axes: Axes, step: Step, place: float, low: float) -> None:
    """One step's bar from the axis' start, its seeds and its mean; hatched where the step was not adopted.

    A reference's is hollow.
    """
    if not all(map(is_percent, step.accuracies or [math.nan])):
        told = f"not drawn ({step.top1.mean:.3g})" if step.results else step.gap
        axes.text(low, place, f"  {told}", va="center", color=PALE, style="italic")
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
    values = [value for step in steps for value in step.accuracies if is_percent(value)]
    values += [step.rung.paper_top1 for step in steps if step.results and step.rung.paper_top1 is not None]
    if not values:
        return 0.0, 100.0
    spread = max(values) - min(values)
    unit = next(unit for unit in (0.5, 1, 2, 5, 10, math.inf) if unit >= spread / 6)
    unit = min(unit, 20)
    low = max(unit * math.floor(min(values) / unit - 0.5), 0)
    return low, min(max(unit * math.ceil(max(values) / unit), low + unit), 100)


def is_percent(value: float) -> bool:
    return 0 <= value <= 100


def draw_curves(steps: Sequence[Step], title: str) -> Figure:
    """A panel a step: validation accuracy by epoch, a line a seed; pale, means of what it is compared with."""
    columns, lines, of_ladder = 4, math.ceil(len(steps) / 4), is_ladder(steps)
    names = [fit(step.rung.title, PANEL, size=8) for step in steps]
    height = 1.6 + 0.75 * LINE * max(map(measure_height, names))
    figure = start_chart(f"{title}: learning curves", height * lines + 0.3, 2.4 * columns)
    panels = [*figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat]
    for axes, step, name in zip(panels, steps, names, strict=False):
        for other in [step.base] if step.base else [s for s in steps if s is not step and not of_ladder]:
            axes.plot(*average_curve(other), ".--", ms=3, color=PALE, lw=1, alpha=1 if step.base else 0.4)
        for result in step.results:
            axes.plot(*zip(*read_curve(result), strict=True), ".-", ms=3, color=BAR, lw=1.2)
        axes.set_title(name, size=8, weight="normal")
        if step.gap:
            axes.text(0.96, 0.06, step.gap, transform=axes.transAxes, ha="right", color=PALE, style="italic", size=8)
    for axes in panels[len(steps) :]:
        axes.set_axis_off()
    panels[0].xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    others = "the step that it is compared with" if of_ladder else "the other networks"
    write_below(figure, f"epoch; dashed: {others}, mean over seeds")
    figure.supylabel("validation top-1 accuracy (%)", size=10)
    return figure


def read_curve(result: Result) -> list[tuple[int, float]]:
    """Epochs that were validated, and their accuracies."""
    return [(epoch.epoch, epoch.top1) for epoch in result.curve if epoch.top1 is not None and is_percent(epoch.top1)]


def average_curve(step: Step) -> tuple[list[int], list[float]]:
    """The epochs that all seeds were validated at, and the mean of their accuracies."""
    curves = [dict(read_curve(result)) for result in step.results]
    epochs = sorted(set.intersection(*map(set, curves))) if curves else []
    return epochs, [fmean(curve[epoch] for curve in curves) for epoch in epochs]
