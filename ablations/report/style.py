"""What all charts share: one visual language, and the parts that several draw.

Blue bars and lines are accuracies, red points are steps of the road, pale marks are what they are compared with: the
paper, or the step before. Nothing is told by color only: steps are labeled, tried ones are hatched or hollow.
"""

import io
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text

from ablations.report.lettering import PLAIN, find_families, fit, measure_height
from convnext_path.files import write_whole

#: Every color of charts and page: on light, which charts are drawn on, and on dark. After Tol; they differ in gray
#: too, and those of text have a contrast of 4.5 to 1 at least (WCAG 2.2, AA).
COLORS = {
    "ink": ("#222222", "#e8e8e8"),
    "pale": ("#595959", "#b0b0b0"),
    "bar": ("#4477aa", "#77aadd"),
    "road": ("#b8485a", "#ee99aa"),
    "grid": ("#dddddd", "#444444"),
    "paper": ("#ffffff", "#161616"),
    "card": ("#f6f6f4", "#222222"),  # of the page alone
}
#: Cells of a matrix, from none to all, and what is written in them: these are the same on a dark page.
CELLS, CELL_INK = ("#fefefe", COLORS["bar"][0]), "#111111"
INK, PALE, BAR, ROAD, GRID, PAPER, _ = (light for light, _ in COLORS.values())

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


WIDTH = 8.0  # inches of a chart
LINE, TITLE = 0.17, 0.2  # inches from one line of its text, or of its title, to the next
LOWEST, HIGHEST = 1e-100, 1e100  # sizes of numbers that are drawn: axes are computed in floats


class Chart(Figure):
    """A figure that a notebook shows, whether or not pyplot is there. Its texts are no formulas."""

    def draw(self, renderer: RendererBase) -> None:
        """As Matplotlib does, but in fonts that have the characters; where there are none, boxes stand for them."""
        for text in self.findobj(Text):
            assert isinstance(text, Text)
            text.set_parse_math(False)
            if families := find_families(text.get_text()):
                text.set_fontfamily([PLAIN, *families, "sans-serif"])
                text.set_fontweight("normal")  # few of these families have a bold font with all their characters
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # told once, not for each text
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        with styled():
            self.savefig(content, format="png", dpi=100)
        return content.getvalue()


def styled() -> AbstractContextManager[None]:
    """Draw what is drawn meanwhile in our style, whatever a matplotlibrc says."""
    return mpl.style.context(STYLE, after_reset=True)


#: What a chart is written as, and what is said in the file: no date, so that the same chart is the same file.
SUFFIXES: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}}


def save_chart(file: Path, draw: Callable[[], Figure], suffixes: Iterable[str] = SUFFIXES) -> list[Path]:
    """Draw in our style and write as PNG and SVG beside each other; return the files."""
    files = []
    with styled():
        figure = draw()
        for suffix in suffixes:
            content = io.BytesIO()
            figure.savefig(content, format=suffix, metadata=SUFFIXES[suffix])
            figure.set_layout_engine("none")  # it is laid out; once more takes as long
            files.append(file.with_name(f"{file.name}.{suffix}"))
            write_whole(files[-1], content.getvalue())
    return files


def write_beside(axes: Axes, x: float, y: float, text: str, **style: str) -> None:
    """Text at a share ``x`` of the width and at ``y`` of the data."""
    axes.text(x, y, text, transform=axes.get_yaxis_transform(), va="center", **style)  # type: ignore[arg-type]


def start_chart(title: str, height: float, width: float = WIDTH) -> Chart:
    """An empty figure of a size in inches, and more for each further line of its title."""
    lines = fit(title, 72 * width, size=12, weight="bold")
    figure = Chart(figsize=(width, height + TITLE * measure_height(lines)), layout="constrained")
    figure.suptitle(lines, x=0.004, ha="left", size=12, weight="bold")
    return figure


def write_below(figure: Figure, text: str) -> None:
    """What lies along the horizontal axis, in lines as wide as the figure."""
    lines = fit(text, 72 * figure.get_figwidth())
    figure.set_figheight(figure.get_figheight() + LINE * (measure_height(lines) - 1))
    figure.supxlabel(lines, size=10)


def is_drawable(number: float) -> bool:
    """Whether an axis can hold it."""
    return number == 0 or LOWEST <= abs(number) <= HIGHEST
