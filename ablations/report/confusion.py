"""Which classes networks take for which: counted and drawn."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from ablations.report.lettering import fit, measure, measure_height
from ablations.report.style import CELL_INK, CELLS, LINE, start_chart, write_below
from ablations.study.predictions import Answers

Kept = Mapping[str, Sequence[Answers]]  # by a network's title, a seed each
Shares = np.ndarray[Any, np.dtype[np.float64]]

NUMBERED, NAMED = 12, 40  # classes, up to which cells have numbers and lines have names
MOST = 2000  # classes, up to which there is a matrix: one of more takes gigabytes, and has no point a class
NAMES, LONGEST = 160.0, 100  # how wide the classes' names are, in points of type, and how many characters they have
SHADES = LinearSegmentedColormap.from_list("shares", CELLS)


def count_confusions(answers: Sequence[Answers]) -> Shares:
    """The share of each class's images (lines) that are taken for each class, over several seeds' answers."""
    truth, given = (np.concatenate(labels) for labels in zip(*((one.truth, one.given) for one in answers), strict=True))
    shares: Shares = confusion_matrix(truth, given, labels=range(len(answers[0].classes)), normalize="true")
    return shares


def has_confusions(answers: Kept | None) -> bool:
    """Whether there are answers, and of no more classes than a matrix has room for."""
    return len(list_classes(answers)) <= MOST if answers else False


def list_classes(answers: Kept) -> Sequence[str]:
    return next(iter(answers.values()))[0].classes


def draw_confusions(answers: Kept, title: str) -> Figure:
    """A matrix a network: the share of each class's images (lines) that it takes for each class (columns)."""
    count = len(list_classes(answers))
    names = [fit(name, NAMES, size=7, longest=LONGEST) for name in list_classes(answers)] if count <= NAMED else []
    columns, side = min(len(answers), 3), choose_side(count, names)
    lines, beside = math.ceil(len(answers) / columns), find_width(names)
    titles = [fit(name, 72 * side, size=8) for name in answers]
    height = 1.0 + beside + lines * (side + 0.8 * LINE * max(map(measure_height, titles)))
    figure = start_chart(f"{title}: confusion matrix", height, 0.6 + beside + side * columns)
    panels = [*figure.subplots(lines, columns, squeeze=False).flat]
    for place, (axes, name, given) in enumerate(zip(panels, titles, answers.values(), strict=False)):
        sides = place % columns == 0, place + columns >= len(answers)
        draw_confusion(axes, count_confusions(given), *(names if named else () for named in sides))
        axes.set_title(name, size=8, weight="normal")
    for axes in panels[len(answers) :]:
        axes.set_axis_off()
    write_below(figure, "answer; % of each class's images")
    figure.supylabel("class" if names else f"{count} classes in order", size=10)
    return figure


def choose_side(count: int, names: Sequence[str]) -> float:
    """Inches of a matrix, so that its lines have room for their names."""
    most = max(map(measure_height, names), default=1)
    return max(2.6 if count <= NUMBERED else 3.4, 0.13 * most * count if most > 1 else 0)


def find_width(names: Sequence[str]) -> float:
    """Inches that the longest line of some names takes."""
    lines = (line for name in names for line in name.split("\n"))
    return max((measure(line, 7, "normal") for line in lines), default=0) / 72


def draw_confusion(axes: Axes, shares: Shares, left: Sequence[str], below: Sequence[str]) -> None:
    """A matrix, named at its left and below, as far as there is room. Its cells keep their colors on a dark page.

    It lies at the lower left of its place: the layout measures the names before the matrix is made square.
    """
    count = len(shares)
    axes.pcolormesh(shares, cmap=SHADES, vmin=0, vmax=1, rasterized=count > NAMED)
    axes.set(aspect="equal", anchor="SW", ylim=(count, 0))
    axes.grid(visible=False)
    names, ticks = slice(count if count <= NAMED else 0), np.arange(count) + 0.5
    axes.set_xticks(ticks[names][: len(below)], below[names], rotation=90, size=7)
    axes.set_yticks(ticks[names][: len(left)], left[names], size=7)
    if count <= NUMBERED:
        for line, column in zip(*np.nonzero(shares >= 0.005), strict=True):
            style: dict[str, Any] = {"ha": "center", "va": "center", "size": 6, "color": CELL_INK}
            axes.text(column + 0.5, line + 0.5, f"{100 * shares[line, column]:.0f}", **style)
