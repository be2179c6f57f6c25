import io
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from matplotlib.text import Text
from PIL import Image

from ablations.analysis.stats import Step
from ablations.report.changes import draw_changes
from ablations.report.charts import (
    CHARTS,
    MOST,
    axis_limits,
    draw_curves,
    draw_steps,
    list_charts,
    plot_study,
)
from ablations.report.roads import SECONDS, draw_road, draw_times
from ablations.report.style import is_drawable, save_chart
from ablations.study.predictions import Answers
from ablations.study.trial import Epoch
from convnext_path import LADDERS, Cost
from convnext_path.words import show_name
from tests.report.conftest import HARD, NAMES

MakeSteps = Callable[..., list[Step]]


def test_writes_whole_files(tmp_path: Path, steps: list[Step]) -> None:
    files = plot_study(tmp_path, "nano on digits", steps)
    charts = ("accuracy", "changes", "curves", "road", "road-seconds", "times")
    assert sorted(f.name for f in files) == sorted(f"{chart}.{suffix}" for chart in charts for suffix in ("png", "svg"))
    for file in files:
        if file.suffix == ".png":
            with Image.open(file) as image:
                assert image.width >= 1000
        else:
            ET.parse(file)
    again = plot_study(tmp_path / "..", "nano on digits", steps)
    assert files[1].read_bytes() == again[1].read_bytes()  # no date, no random names


def test_what_has_the_name_of_no_chart_of_the_study_is_kept(tmp_path: Path, steps: list[Step]) -> None:
    foreign = ("road.png", "road-seconds.svg", "confusion.png", "times.svg")
    for name in foreign:
        (tmp_path / name).write_text(name)
    plot_study(tmp_path, "title", steps[:1])
    assert sorted(file.read_text() for file in (tmp_path / "aside").iterdir()) == sorted(foreign)
    assert not {file.name for file in tmp_path.iterdir()} & set(foreign)


def test_a_bar_a_step_in_order_tried_ones_hatched(steps: list[Step]) -> None:
    axes = draw_steps(steps, "title").axes[0]
    low, _ = axis_limits(steps)
    bars = list(axes.patches)
    shown = [step for step in steps if step.results]
    assert [bar.get_x() + bar.get_width() for bar in bars] == pytest.approx([step.top1.mean for step in shown])
    assert all(bar.get_x() == low for bar in bars)
    assert [bool(bar.get_hatch()) for bar in bars] == [not step.rung.adopted for step in shown]
    assert [label.get_text() for label in axes.get_yticklabels()] == [step.rung.title for step in steps]
    texts = [text.get_text() for text in axes.texts]
    assert {"Macro design", "ResNeXt", "Large kernel", "Micro design", "MACs", "  no result"} <= set(texts)
    assert texts.count("7.00M") == len(shown)
    (half,) = (step for step in steps if len(step.results) == 1)
    assert [text for text in texts if "seeds" in text] == [f"{half.top1.mean:.1f}  (1 of 2 seeds)"]


def test_one_step_and_none() -> None:
    empty = [Step(LADDERS["convnext-nano"][0], (), 3)]
    assert axis_limits(empty) == (0.0, 100.0)
    for draw in (draw_steps, draw_changes, draw_curves, draw_times, partial(draw_road, price=SECONDS)):
        draw(empty, "title")
    assert list_charts("title", []) == {}


@pytest.mark.parametrize(
    "values", [(95.0, 95.0), (95.1, 97.3), (10.0, 99.0), (0.0, 0.4), (99.9, 100.0), (0.0, 0.0), (100.0, 100.0)]
)
def test_axis_limits_hold_the_values(values: tuple[float, float], steps: list[Step]) -> None:
    two = [replace(steps[0], results=tuple(replace(steps[0].results[0], top1=v) for v in values))]
    low, high = axis_limits(two)
    assert 0 <= low <= min(values) <= max(values) <= high <= 100
    assert low < high


@pytest.mark.parametrize("name", HARD, ids=range(len(HARD)))
def test_charts_hold_every_name(name: str, tmp_path: Path, make_steps: MakeSteps) -> None:
    draw_with(name, tmp_path, make_steps)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES)
def test_charts_hold_any_name(tmp_path: Path, make_steps: MakeSteps, name: str) -> None:
    draw_with(name, tmp_path, make_steps)


def draw_with(name: str, folder: Path, make_steps: MakeSteps) -> None:
    """Draw charts that hold a name wherever there is one: files are whole, and texts lie within their figures."""
    steps = make_steps(2, {"title": name, "section": name})
    answers = Answers("d", "w", (name, "b"), (0, 1), (0, 1), (0.5, 0.5))
    shown = "".join(show_name(f"{name[:300]} … {name[-300:]}" if len(name) > 600 else name).split())
    for chart, draw in list_charts(name[:255], steps, {name: [answers]}).items():
        png, svg = save_chart(folder / chart, draw)
        with Image.open(png) as image:
            assert max(image.size) < 2**16
        texts = "".join("".join(ET.parse(svg).getroot().itertext()).split())
        assert shown in texts


@pytest.mark.filterwarnings("ignore:Glyph")
def test_texts_lie_within_their_figures(make_steps: MakeSteps) -> None:
    steps = make_steps(5, {"title": "a long title of many words " * 9, "section": "x" * 255})
    answers = Answers("d", "w", ("y" * 255, "b"), (0, 1), (0, 1), (0.5, 0.5))
    for draw in list_charts("z" * 255, steps, {"long " * 50: [answers]}).values():
        figure = draw()
        figure.savefig(io.BytesIO(), format="png", dpi=100)
        width, height = figure.bbox.size
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            box = text.get_window_extent()
            if text.get_visible() and len(text.get_text()) > 10:
                assert -2 <= box.x0 <= box.x1 <= width + 2, text.get_text()
                assert -2 <= box.y0 <= box.y1 <= height + 2, text.get_text()


def test_charts_of_two_measures_take_four_points(tmp_path: Path, make_steps: MakeSteps) -> None:
    few = ["accuracy", "changes", "curves"]
    assert list(list_charts("title", make_steps(3))) == few
    assert set(list_charts("title", make_steps(4))) == {*few, "road", "road-seconds", "times"}
    own = [tmp_path / name for name in ("road.txt", "my-road.png")]
    for file in (*own, *(tmp_path / f"{name}.{suffix}" for name in CHARTS for suffix in ("png", "svg"))):
        file.write_text("of before")
    plot_study(tmp_path, "title", make_steps(2))
    charts = [file for file in tmp_path.iterdir() if file.name != "aside"]
    assert sorted(charts) == sorted([*own, *(tmp_path / f"{n}.{s}" for n in few for s in ("png", "svg"))])


def test_more_steps_than_a_picture_has_room_for(make_steps: MakeSteps) -> None:
    charts = list_charts("title", make_steps(10 * MOST, seconds=lambda place, seed: 1.0 + place))
    for name in ("accuracy", "changes", "road"):
        figure = charts[name]()
        assert figure.get_figheight() < 100
        assert f"title, the first {MOST} of {10 * MOST}" in figure.get_suptitle()


@pytest.mark.parametrize("number", [1e-9, 1e-6, 1.0, 1e6, 1e12])
def test_any_number_is_drawn_or_written(number: float, make_steps: MakeSteps) -> None:
    """Whatever a record may hold: of one step among others in one measure, and of all of them in another."""

    def choose(place: int, seed: int) -> float:
        return number if place == 2 else 50.0 + place + seed

    def choose_share(place: int, seed: int) -> float:
        return min(choose(place, seed), 100.0)

    steps = make_steps(6, top1=choose_share, images_per_second=choose, seconds=lambda place, seed: number)
    for chart in ("accuracy", "changes", "road", "times"):
        list_charts("title", steps)[chart]().draw_without_rendering()
    assert ("road-seconds" in list_charts("title", steps)) == is_drawable(number)


@pytest.mark.parametrize("macs", [0, 1, 10**9, 10**18, 2**63 - 1])
def test_costs_of_any_size_are_drawn(macs: int, make_steps: MakeSteps) -> None:
    steps = make_steps(4, cost=lambda place, seed: Cost(100, (("conv", macs),), 50))
    for chart in {"accuracy", "road", "times"} & list_charts("title", steps).keys():
        list_charts("title", steps)[chart]().draw_without_rendering()


@pytest.mark.parametrize("epochs", [1, 2, 3, 30])
def test_axes_of_epochs_have_whole_numbers(epochs: int, make_steps: MakeSteps) -> None:
    curve = tuple(Epoch(epoch, 0.0, 1.0, 0.5, 80.0, 99.0) for epoch in range(1, epochs + 1))
    figure = list_charts("title", make_steps(2, curve=lambda place, seed: curve))["curves"]()
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticks()
    assert len(ticks)
    assert all(tick == round(tick) for tick in ticks)
