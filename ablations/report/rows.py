"""Charts of one row a step: the rows lie as far apart as their names need."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ablations.report.lettering import fit, measure_height

TICKS = 240.0  # how wide the names at the left are, in points of type
ROW = 0.3  # inches of a row whose name has one line

Places = np.ndarray[Any, np.dtype[np.float64]]


def fit_names(names: Sequence[str]) -> list[str]:
    return [fit(name, TICKS) for name in names]


def measure_rows(labels: Sequence[str]) -> Places:
    """The height of each row, in rows of one line."""
    lines = np.array([measure_height(label) for label in labels])
    return np.maximum(1.0, 0.6 * lines + 0.15)


def place_rows(labels: Sequence[str], gaps: Sequence[float] | None = None) -> Places:
    """The middle of each row, from zero on downwards; ``gaps``: what is left free above each."""
    heights = measure_rows(labels)
    ends = np.cumsum(heights + (0 if gaps is None else np.asarray(gaps)))
    middles: Places = ends - heights / 2
    return middles - 0.5


def name_rows(axes: Axes, places: Places, labels: Sequence[str]) -> None:
    """Write the names at the left, without ticks."""
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
