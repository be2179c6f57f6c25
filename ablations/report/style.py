"""What all charts share: one visual language, and the parts that several draw.

Blue bars and lines are accuracies, red points are steps of the road, pale marks are what they are compared with: the
paper, or the step before. Nothing is told by colour only: steps are labelled, tried ones are hatched or hollow.
"""

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import offset_copy

from convnext_path.files import write_whole

#: Every colour of charts and page: on light, which charts are drawn on, and on dark. After Tol; they differ in grey
#: too, and those of text have a contrast of 4.5 to 1 at least (WCAG 2.2, AA).
COLOURS = {
    "ink": ("#222222", "#e8e8e8"),
    "pale": ("#595959", "#b0b0b0"),
    "bar": ("#4477aa", "#77aadd"),
    "road": ("#b8485a", "#ee99aa"),
    "grid": ("#dddddd", "#444444"),
    "paper": ("#ffffff", "#161616"),
    "card": ("#f6f6f4", "#222222"),  # of the page alone
}
#: Cells of a matrix, from none to all, and what is written in them: these are the same on a dark page.
CELLS, CELL_INK = ("#fefefe", COLOURS["bar"][0]), "#111111"
INK, PALE, BAR, ROAD, GRID, PAPER, _ = (light for light, _ in COLOURS.values())

STYLE: dict[Any, object] = {
    "font.size": 10,
    **{f"{part}.color": INK for part in ("text", "xtick", "ytick")},
    **{f"axes.{part}color": INK for part in ("edge", "label", "title")},
    **{f"{part}.facecolor": PAPER for part in ("figure", "axes", "savefig")},
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "grid.color": GRID,
    "hatch.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "convnext-path",
    "savefig.dpi": 150,
}


class Chart(Figure):
    """A figure that a notebook shows, whether or not pyplot is there."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        with styled():
            self.savefig(content, format="png", dpi=100)
        return content.getvalue()


def styled() -> AbstractContextManager[None]:
    """Draw what is drawn meanwhile in our style."""
    return mpl.rc_context(STYLE)


def save_chart(file: Path, draw: Callable[[], Figure]) -> list[Path]:
    """Draw in our style and write as PNG and SVG beside each other; return the files."""
    files = []
    with styled():
        figure = draw()
        for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
            content = io.BytesIO()
            figure.savefig(content, format=suffix, metadata=metadata)
            figure.set_layout_engine("none")  # it is laid out; once more takes as long
            files.append(file.with_name(f"{file.name}.{suffix}"))
            write_whole(files[-1], content.getvalue())
    return files


def write_beside(axes: Axes, x: float, y: float, text: str, **style: str) -> None:
    """Text at a share ``x`` of the width and at ``y`` of the data."""
    axes.text(x, y, text, transform=axes.get_yaxis_transform(), va="center", **style)  # type: ignore[arg-type]


class Point(NamedTuple):
    """A place in a chart, with a number that the legend explains."""

    x: float
    y: float
    number: int
    label: str
    hollow: bool = False


SIZE = 13.0  # of a numbered point, in points of type


def draw_numbers(axes: Axes, points: Sequence[Point]) -> None:
    """Numbered points, once the limits are set; one that would cover another moves aside, on a line to its place."""
    offsets = find_offsets(place_in_type(axes, points))
    for point, offset in zip(points, offsets, strict=True):
        face, ink = (PAPER, INK) if point.hollow else (ROAD, PAPER)
        label = f"{point.number:\u2007>2}  {point.label}"  # a space as wide as a digit
        aside = offset_copy(axes.transData, axes.figure, *offset, units="points")  # type: ignore[arg-type]
        if any(offset):
            line = {"arrowstyle": "-", "color": INK, "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (point.x, point.y), offset, textcoords="offset points", arrowprops=line, zorder=3)
        axes.plot(
            point.x, point.y, "o", ms=SIZE, mfc=face, mec=INK, zorder=4, label=label, clip_on=False, transform=aside
        )
        style = {"ha": "center", "va": "center_baseline", "size": 8, "color": ink, "zorder": 5}
        axes.text(point.x, point.y, f"{point.number}", transform=aside, **style)  # type: ignore[arg-type]


def place_in_type(axes: Axes, points: Sequence[Point]) -> list[complex]:
    """About where points will be, in points of type: a layout yet to come lets legends take some of the width."""
    side = 72 * min(*axes.bbox.size) / axes.figure.dpi
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return [complex(side * (p.x - left) / (right - left), side * (p.y - low) / (high - low)) for p in points]


def find_offsets(places: Sequence[complex]) -> list[tuple[float, float]]:
    """How far each of some points moves, so that none covers one before it: not at all where it can stay."""
    taken: list[complex] = []
    ring = [turn * radius * SIZE for turns in ((1, -1), (1j, -1j)) for radius in (1.4, 2.8, 4.2) for turn in turns]
    for place in places:
        free = (place + move for move in (0, *ring) if all(abs(place + move - other) > SIZE for other in taken))
        taken.append(next(free, place))
    moves = [new - old for new, old in zip(taken, places, strict=True)]
    return [(move.real, move.imag) for move in moves]


def add_legend(figure: Figure, axes: Axes, title: str) -> None:
    """List beside the charts what the numbers in the points of ``axes`` stand for."""
    handles, labels = axes.get_legend_handles_labels()
    bare = {"frameon": False, "handlelength": 0, "handletextpad": 0, "markerscale": 0}
    figure.legend(handles, labels, loc="outside right upper", title=title, **bare)


class Timed(NamedTuple):
    """A network's time, milliseconds an image, beside its multiply-accumulates."""

    number: int
    label: str
    macs: float
    low: float
    middle: float
    high: float


PACE = "dashed: as fast a MAC\nas the first of them"


def draw_points(axes: Axes, points: Sequence[Timed]) -> None:
    """A numbered point a network, with its range, and the line of equal rate through origin and first point."""
    axes.axline((0, 0), (points[0].macs, points[0].middle), color=PALE, lw=1, ls="--", zorder=1)
    for point in points:
        axes.plot([point.macs] * 2, [point.low, point.high], "-", color=INK, lw=1, zorder=2)
    axes.set_xlim(*spread([point.macs for point in points]))
    axes.set_ylim(*spread([end for point in points for end in (point.low, point.high)]))
    draw_numbers(axes, [Point(point.macs, point.middle, point.number, point.label) for point in points])
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis around all values; not from zero on, for most networks cost about as much."""
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.1 * high
    return low - margin, high + margin
