"""A study's steps as points between two measures: accuracy against a price, time against multiply-accumulates."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, StrMethodFormatter

from ablations.analysis.stats import Step, is_ladder
from ablations.report.scatter import (
    FEWEST,
    PACE,
    Point,
    Timed,
    add_legend,
    draw_numbers,
    draw_points,
    spread,
    start_scatter,
)
from ablations.report.style import INK, PALE, ROAD, is_drawable, write_below
from ablations.study.trial import Result

FAR = 2.5  # the most that others may widen the axis of the designs, times


@dataclass(frozen=True)
class Price:
    """What a step costs, for an axis."""

    label: str
    of: Callable[[Step], float]
    form: Formatter


MACS = Price("multiply-accumulates per image, without norms", lambda step: step.macs, EngFormatter(sep=""))
SECONDS = Price(
    "seconds per training run", lambda step: step.mean(lambda result: result.seconds), StrMethodFormatter("{x:g}")
)


def draw_road(steps: Sequence[Step], title: str, price: Price) -> Figure:
    """Accuracy against a price: a line through the adopted steps from start to end, side roads to those tried."""
    low, high = road_limits(steps)
    points = list_places(steps, price, low)
    road = [step for step in steps if step.results and step.rung.adopted]
    named = f"{title}: accuracy against cost"
    figure = start_scatter(named, points)
    axes = figure.add_subplot()
    draw_lines(axes, steps, price)
    axes.set_xlim(*spread([point.x for point in points if point.is_drawable]))
    axes.set_ylim(low, high)
    draw_numbers(axes, points)
    axes.xaxis.set_major_formatter(price.form)
    axes.set_ylabel("top-1 accuracy (%)")
    write_below(figure, price.label)
    if points:
        add_legend(axes, "line: adopted steps\nhollow: others" if road else "")
    return figure


def list_places(steps: Sequence[Step], price: Price, low: float) -> list[Point]:
    """A point a step that has results; the accuracy of one below ``low`` is written."""
    points = [
        Point(price.of(step), step.top1.mean, number, step.rung.title, hollow=not step.rung.adopted)
        for number, step in enumerate(steps, 1)
        if step.results
    ]
    if all(point.hollow for point in points):
        points = [point._replace(hollow=False) for point in points]
    return [p._replace(label=f"{p.label}: {p.y:.1f} %") if p.y < low and p.is_drawable else p for p in points]


def draw_lines(axes: Axes, steps: Sequence[Step], price: Price) -> None:
    """The road, its side roads, and the height of each reference. They end where the axes do."""
    places = {step.rung.name: Point(price.of(step), step.top1.mean, 0, "") for step in steps if step.results}
    places = {name: point for name, point in places.items() if point.is_drawable}
    shown = [step for step in steps if step.rung.name in places]
    road = [places[step.rung.name][:2] for step in shown if step.rung.adopted]
    if road:
        axes.plot(*zip(*road, strict=True), "-", color=ROAD, lw=2, zorder=1)
    for step in shown:
        if step.base and not step.rung.adopted and step.base.rung.name in places:
            ends = places[step.base.rung.name][:2], places[step.rung.name][:2]
            axes.plot(*zip(*ends, strict=True), ":", color=INK, lw=1, zorder=1)
    for step in list_references(shown):
        axes.axhline(step.top1.mean, color=PALE, lw=1, ls=":", zorder=0)


def list_references(steps: Sequence[Step]) -> list[Step]:
    """The networks beside the ladder that have a result; none where there is no ladder."""
    return [step for step in steps if is_ladder(steps) and step.rung.is_reference and step.results]


def road_limits(steps: Sequence[Step]) -> tuple[float, float]:
    """Limits around all steps; without the original recipe and references below where they would press the others."""
    shown = [step for step in steps if step.results and is_drawable(step.top1.mean)]
    means = [step.top1.mean for step in shown]
    designs = [s.top1.mean for s in shown if s.rung.recipe != "original" and not s.rung.is_reference] or means
    top = max(means, default=1.0)
    reach = FAR * (top - min(designs, default=0.0)) or math.inf
    return spread([mean for mean in means if top - mean <= reach])


def time_steps(steps: Sequence[Step]) -> list[Timed]:
    """Milliseconds of training an image, of the steps that have results."""
    return [
        Timed(number, step.rung.title, step.macs, min(times), fmean(times), max(times))
        for number, step in enumerate(steps, 1)
        if (times := [find_milliseconds(result) for result in step.results])
    ]


def find_milliseconds(result: Result) -> float:
    rate = result.images_per_second
    return 1000 / rate if rate else float("inf")


def draw_times(steps: Sequence[Step], title: str) -> Figure:
    """Measured training time against MACs, a point a step, with the range over seeds."""
    timed = time_steps(steps)
    figure = start_scatter(f"{title}: time against multiply-accumulates", [one.point for one in timed])
    axes = figure.add_subplot()
    axes.set_ylabel("training time per image (ms)")
    write_below(figure, MACS.label)
    draw_points(axes, timed)
    if timed:
        add_legend(axes, PACE)
    return figure


def has_road(steps: Sequence[Step], price: Price) -> bool:
    """Whether there are points enough for :func:`draw_road`."""
    return sum(point.is_drawable for point in list_places(steps, price, -1)) >= FEWEST


def has_times(steps: Sequence[Step]) -> bool:
    """Whether there are points enough for :func:`draw_times`."""
    return sum(timed.point.is_drawable for timed in time_steps(steps)) >= FEWEST
