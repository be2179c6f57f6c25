"""What each step changes, with its interval, beside the paper's change."""

import math
from collections.abc import Sequence
from statistics import median_low
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.analysis.stats import Step
from ablations.analysis.tables import show_estimate
from ablations.report.rows import ROW, fit_names, measure_rows, name_rows, place_rows
from ablations.report.style import INK, PALE, PAPER, ROAD, is_drawable, start_chart, write_below, write_beside

FAR = 8.0  # times the median reach: intervals beyond would leave no others to be read, and are cut


def draw_changes(steps: Sequence[Step], title: str) -> Figure:
    """A change a line: its mean and 95 % interval, and the paper's."""
    changed = [step for step in steps if step.base]
    labels = fit_names([step.title for step in changed])
    places = place_rows(labels)
    height = ROW * max(float(measure_rows(labels).sum()), 1)
    figure = start_chart(f"{title}: change in accuracy per step", 1.3 + height)
    axes = figure.add_subplot()
    reach = change_limit(changed)
    axes.axvline(0, color=INK, lw=1)
    for place, step in zip(places, changed, strict=True):
        draw_change(axes, step, float(place), reach)
    name_rows(axes, places, labels)
    axes.set_ylim(height / ROW - 0.4, -0.6)
    axes.set_xlim(-reach, reach)
    told = "line: 95 % interval; arrow: beyond the axis; hollow: not adopted; ◇: paper"
    write_below(figure, f"points of top-1; {told}")
    return figure


def change_limit(steps: Sequence[Step]) -> float:
    """How far the axis goes to both sides: as far as every change, its interval and the paper's, but for the far ones.

    Those are more than :data:`FAR` times as far as the median.
    """
    reaches = [reach for reach in map(find_reach, steps) if reach > 0] or [1.0]
    return 1.05 * max(reach for reach in reaches if reach <= FAR * median_low(reaches))


def find_reach(step: Step) -> float:
    """How far from zero what is drawn of a change lies."""
    ends = (step.change.low, step.change.high, step.change.mean, step.paper_change)
    return max((abs(end) for end in ends if is_drawable(end)), default=0.0)


def draw_change(axes: Axes, step: Step, place: float, reach: float) -> None:
    """One change, its interval cut at the axis' ends, and in words beside."""
    change, published = step.change, step.paper_change
    if not math.isnan(published):
        draw_mark(axes, published, place, reach, "D", ms=6, mfc=PAPER, mec=PALE, zorder=2)
    if not change.n or not is_drawable(change.mean):
        why = f"not drawn ({change.mean:.3g})" if change.n else step.gap or "no seed in common"
        write_beside(axes, 1.02, place, why, color=PALE, style="italic")
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
