"""Charts of numbered points, and the legend that says what the numbers stand for."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from ablations.report.lettering import fit, measure_height
from ablations.report.style import INK, LINE, PALE, PAPER, ROAD, Chart, is_drawable, start_chart

FEWEST = 4  # points, from which on a chart of two measures says more than a table
DOT, LABEL = 6.0, 12.0  # of a point, and of its number with what is free around it, in points of type
LEGEND = 230.0  # how wide the lines of a legend are, in points of type


class Point(NamedTuple):
    """A place in a chart, with a number that the legend explains."""

    x: float
    y: float
    number: int
    label: str
    hollow: bool = False

    @property
    def is_drawable(self) -> bool:
        return is_drawable(self.x) and is_drawable(self.y)

    @property
    def text(self) -> str:
        """Its line in the legend, or lines; a number that no axis holds is written there."""
        missing = "" if self.is_drawable else f": not drawn ({self.x:.3g}, {self.y:.3g})"
        lines = fit(f"{self.label}{missing}", LEGEND).replace("\n", "\n\u2007\u2007  ")
        return f"{self.number:\u2007>2}  {lines}"  # a space as wide as a digit


def start_scatter(title: str, points: Sequence[Point]) -> Chart:
    """A figure that has room for the points' legend."""
    return start_chart(title, max(4.6, measure_legend(points)))


def measure_legend(points: Sequence[Point]) -> float:
    """How high the legend is, in inches."""
    return 0.9 + sum(0.21 + LINE * (measure_height(point.text) - 1) for point in points)


def draw_numbers(axes: Axes, points: Sequence[Point]) -> None:
    """Points where they are, once the limits are set, each with its number beside it.

    One above or below the axis is an arrow at its edge; one that no axis holds is in the legend alone.
    """
    low, high = axes.get_ylim()
    moves = iter(find_labels(place_in_type(axes, [point for point in points if point.is_drawable])))
    for point in points:
        style: dict[str, Any] = {"ms": DOT, "mfc": PAPER if point.hollow else ROAD, "mec": INK, "mew": 0.8}
        mark = "v" if point.y < low else "^" if point.y > high else "o"
        x, y = (point.x, min(max(point.y, low), high)) if point.is_drawable else (math.nan, math.nan)
        axes.plot(x, y, mark, label=point.text, zorder=4, clip_on=False, **style)
        if point.is_drawable:
            write_number(axes, (x, y), f"{point.number}", next(moves))


def write_number(axes: Axes, place: tuple[float, float], number: str, move: complex) -> None:
    """A number beside its point; a thin line leads to the point where others lie between."""
    line = {"arrowstyle": "-", "color": INK, "lw": 0.5, "shrinkA": 0, "shrinkB": DOT / 2}
    text: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False, "zorder": 5, "size": 8}
    text["bbox"] = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.4, "alpha": 0.7}
    text["arrowprops"] = line if abs(move) > LABEL else None
    axes.annotate(number, place, (move.real, move.imag), ha="center", va="center", **text)


def place_in_type(axes: Axes, points: Sequence[Point]) -> list[complex]:
    """About where points will be, in points of type: a layout yet to come lets legends take some of the width."""
    side = 72 * min(*axes.bbox.size) / axes.figure.dpi
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    shares = (((point.x - left) / (right - left), (point.y - low) / (high - low)) for point in points)
    return [side * complex(*np.clip(share, 0, 1)) for share in shares]


#: Where a number may stand beside its point, the nearest first, and first above at the right.
TURNS = np.array([1, 5, 11, 7, *range(12)]) / 12
MOVES = np.outer((10, 18, 27, 38, 50), np.exp(2j * np.pi * TURNS)).ravel()


def find_labels(places: Sequence[complex]) -> list[complex]:
    """Where each point's number stands from it, so that it covers no point and no other number, if that can be."""
    points, taken = np.array(places), np.empty(0, dtype=complex)
    moves: list[complex] = []
    for point in points:
        spots = point + MOVES
        covered = np.abs(spots[:, None] - points) < (DOT + LABEL) / 2
        crowded = np.abs(spots[:, None] - taken) < LABEL
        best = np.argmin(covered.sum(axis=1) + crowded.sum(axis=1))
        taken = np.append(taken, spots[best])
        moves.append(complex(MOVES[best]))
    return moves


def add_legend(axes: Axes, title: str, beside: Axes | None = None) -> None:
    """List what the numbers of ``axes`` stand for at the right of it, or of another."""
    handles, labels = axes.get_legend_handles_labels()
    bare: dict[str, Any] = {"frameon": False, "handlelength": 0, "handletextpad": 0, "markerscale": 0}
    where: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02)}
    (beside or axes).legend(handles, labels, title=title, **where, **bare)


class Timed(NamedTuple):
    """A network's time, milliseconds an image, beside its multiply-accumulates."""

    number: int
    label: str
    macs: float
    low: float
    middle: float
    high: float

    @property
    def point(self) -> Point:
        return Point(self.macs, self.middle, self.number, self.label)


PACE = "dashed: same time per\nMAC as the first point"


def draw_points(axes: Axes, points: Sequence[Timed]) -> None:
    """A numbered point a network, with its range, and the line of equal rate through origin and first point."""
    shown = [timed for timed in points if timed.point.is_drawable]
    if shown and (shown[0].macs or shown[0].middle):
        axes.axline((0, 0), (shown[0].macs, shown[0].middle), color=PALE, lw=1, ls="--", zorder=1)
    for timed in shown:
        axes.plot([timed.macs] * 2, [timed.low, timed.high], "-", color=INK, lw=1, zorder=2)
    axes.set_xlim(*spread([timed.macs for timed in shown]))
    axes.set_ylim(*spread([end for timed in shown for end in (timed.low, timed.middle, timed.high)]))
    draw_numbers(axes, [timed.point for timed in points])
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis around all values that it can hold; not from zero on, for most networks cost about as much."""
    shown = [value for value in values if is_drawable(value)] or [0.0, 1.0]
    low, high = min(shown), max(shown)
    same = high - low <= 1e-9 * max(abs(low), abs(high))
    margin = 0.08 * (high - low) if not same else 0.1 * abs(high) or 1.0
    return low - margin, high + margin
