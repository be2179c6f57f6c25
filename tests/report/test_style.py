import io
from pathlib import Path

import matplotlib as mpl
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib import colors
from matplotlib.figure import Figure

from ablations.report.style import BAR, ROAD, Chart, is_drawable, save_chart, start_chart, write_below
from tests.report.conftest import HARD


def test_colors_differ_in_gray() -> None:
    def gray(color: str) -> float:
        red, green, blue = colors.to_rgb(color)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    assert abs(gray(BAR) - gray(ROAD)) > 0.05
    assert 1 - gray(BAR) > 0.4


def test_a_notebook_shows_a_chart() -> None:
    data, _ = DisplayFormatter().format(Chart(figsize=(2, 1)))
    assert data["image/png"].startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("title", HARD, ids=range(len(HARD)))
def test_what_is_written_around_a_chart_is_within_its_figure(title: str) -> None:
    figure = start_chart(f"{title}: title", 2)
    figure.add_subplot()
    write_below(figure, f"{title}: below")
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    width, height = figure.bbox.size
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= width + 1
        assert box.y0 >= -1
        assert box.y1 <= height + 1


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), 1e308, -1e101, 1e-300, 5e-324])
def test_no_axis_holds_such_numbers(number: float) -> None:
    assert not is_drawable(number)
    assert is_drawable(0.0)
    assert is_drawable(-1e9)


@pytest.mark.parametrize(
    "setting", [{"text.usetex": True}, {"font.size": 30}, {"axes.grid": False, "savefig.format": "pdf"}]
)
def test_settings_of_ones_own_change_no_chart(setting: dict[str, object], tmp_path: Path) -> None:
    def draw() -> Figure:
        figure = start_chart("title", 2)
        figure.add_subplot().plot([1, 2])
        return figure

    before = [file.read_bytes() for file in save_chart(tmp_path / "before", draw)]
    with mpl.rc_context(setting):
        after = [file.read_bytes() for file in save_chart(tmp_path / "after", draw)]
    assert after == before
