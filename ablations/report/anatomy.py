"""Pictures of what a step changes: a part of the network before and after it, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ablations.report.blocks import Change, Line, compare, describe_changes, find_step
from ablations.report.style import BAR, GRID, INK, PALE, PAPER, ROAD, Chart, start_chart, styled, write_below
from convnext_path import RECIPES

ROW, BOX = 0.27, 0.74  # inches from one layer to the next, and how much of that its box takes
WIDEST, NARROWEST = 0.94, 0.66  # of a column: a convolution of most channels, and what has none
COLUMNS = (0.0, 1.08)  # where they begin: before and after

Side = Sequence[tuple[Line, bool]]  # lines, and whether the other side lacks them


@dataclass(frozen=True, repr=False)
class Explanation:
    """What a step changes: a text where it is printed, a picture where a notebook shows it."""

    text: str
    title: str
    changes: Sequence[Change]

    def __repr__(self) -> str:
        return self.text

    @cached_property
    def figure(self) -> Figure:
        """The picture, as Matplotlib has it."""
        with styled():
            return draw_step(self.changes, self.title, self.text.splitlines()[-2:])

    def _repr_png_(self) -> bytes:
        assert isinstance(self.figure, Chart)
        return self.figure._repr_png_()


def explain(ladder: str, name: str, before: str | None = None) -> Explanation:
    """A rung's step. Raises a ValueError, as :func:`ablations.report.blocks.find_step`."""
    base, rung = find_step(ladder, name, before)
    changes = compare(base, rung, RECIPES["imagenet"])
    return Explanation(describe_changes(changes, [base, rung] if base else [rung]), rung.title, changes)


def draw_step(changes: Sequence[Change], title: str, below: Sequence[str] = ()) -> Figure:
    """The parts that a step changes, one under another, before it at the left and after it at the right."""
    heights = [1 + max(len(change.before), len(change.after)) for change in changes]
    figure = start_chart(title, ROW * sum(heights) + 0.9, width=6.4)
    panels = figure.subplots(len(changes), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, change, height in zip(panels, changes, heights, strict=True):
        axes.set(xlim=(0, COLUMNS[1] + 1), ylim=(height - 1, -1))
        axes.set_axis_off()
        axes.text(0, -0.6, change.part, weight="bold", va="center", size=9)
        widest = max((line.channels or 0 for line, _ in (*change.before, *change.after)), default=0)
        for place, name, side in zip(COLUMNS, ("before", "after"), (change.before, change.after), strict=True):
            axes.text(place + 0.5, -0.6, name if side else "", color=PALE, ha="center", va="center", size=9)
            draw_side(axes, side, place, widest)
    write_below(figure, "; ".join(below))
    return figure


def draw_side(axes: Axes, side: Side, left: float, widest: int) -> None:
    """A part, a box per line: as wide as a convolution has channels, and colored where the other side lacks it."""
    for row, (line, is_lone) in enumerate(side):
        share = (line.channels or 0) / widest if widest else 0.0
        width = max(WIDEST * share, NARROWEST) if line.channels else NARROWEST
        face, edge = ROAD if is_lone else BAR if line.channels else PAPER, ROAD if is_lone else GRID
        corner = left + 0.5 - width / 2, row + (1 - BOX) / 2 - 0.1
        shape = "round,pad=0,rounding_size=0.02"
        axes.add_patch(FancyBboxPatch(corner, width, BOX, boxstyle=shape, fc=face, ec=edge, mutation_aspect=1 / ROW))
        dark = is_lone or line.channels
        axes.text(left + 0.5, row + 0.4, line.text, color=PAPER if dark else INK, ha="center", va="center", size=8)
