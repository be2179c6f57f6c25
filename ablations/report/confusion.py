"""Which classes networks take for which: counted and drawn."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from ablations.report.style import CELL_INK, CELLS, Chart
from ablations.study.predictions import Answers

Kept = Mapping[str, Sequence[Answers]]  # by a network's title, a seed each
Shares = np.ndarray[Any, np.dtype[np.float64]]

NUMBERED, NAMED = 12, 40  # classes, up to which cells have numbers and lines have names
SHADES = LinearSegmentedColormap.from_list("shares", CELLS)


def count_confusions(answers: Sequence[Answers]) -> Shares:
    """The share of each class's images (lines) that are taken for each class, over several seeds' answers."""
    truth, given = (np.concatenate(labels) for labels in zip(*((one.truth, one.given) for one in answers), strict=True))
    shares: Shares = confusion_matrix(truth, given, labels=range(len(answers[0].classes)), normalize="true")
    return shares


def draw_confusions(answers: Kept, title: str) -> Figure:
    """A matrix a network: the share of each class's images (lines) that it takes for each class (columns)."""
    classes = next(iter(answers.values()))[0].classes
    columns = min(len(answers), 3)
    lines, side = math.ceil(len(answers) / columns), 2.6 if len(classes) <= NUMBERED else 3.4
    figure = Chart(figsize=(1.2 + side * columns, 2.2 + (side + 0.2) * lines), layout="constrained")
    panels = [*figure.subplots(lines, columns, squeeze=False).flat]
    for place, (axes, (name, given)) in enumerate(zip(panels, answers.items(), strict=False)):
        sides = place % columns == 0, place + columns >= len(answers)
        draw_confusion(axes, count_confusions(given), *(classes if named else () for named in sides))
        axes.set_title(name, size=8, weight="normal", parse_math=False)
    for axes in panels[len(answers) :]:
        axes.set_axis_off()
    figure.suptitle(f"{title}: what is taken for what", x=0, ha="left", weight="bold", parse_math=False)
    figure.supxlabel("answer; % of each class's images")
    figure.supylabel("class")
    return figure


def draw_confusion(axes: Axes, shares: Shares, left: Sequence[str], below: Sequence[str]) -> None:
    """A matrix, named at its left and below, as far as there is room. Its cells keep their colours on a dark page."""
    count = len(shares)
    axes.pcolormesh(shares, cmap=SHADES, vmin=0, vmax=1, rasterized=count > NAMED)
    axes.set(aspect="equal", ylim=(count, 0))
    axes.grid(visible=False)
    names, ticks = slice(count if count <= NAMED else 0), np.arange(count) + 0.5
    axes.set_xticks(ticks[names][: len(below)], below[names], rotation=90, size=7, parse_math=False)
    axes.set_yticks(ticks[names][: len(left)], left[names], size=7, parse_math=False)
    if count <= NUMBERED:
        for line, column in zip(*np.nonzero(shares >= 0.005), strict=True):
            style: dict[str, Any] = {"ha": "center", "va": "center", "size": 6, "color": CELL_INK}
            axes.text(column + 0.5, line + 0.5, f"{100 * shares[line, column]:.0f}", **style)
