import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ablations.analysis.stats import Step, summarize
from ablations.report.charts import (
    MACS,
    SECONDS,
    axis_limits,
    draw_changes,
    draw_curves,
    draw_road,
    draw_steps,
    draw_times,
    plot_study,
)
from ablations.study.trial import Plan
from convnext_path import LADDERS
from convnext_path.references import REFERENCES
from tests.conftest import fake_result


@pytest.fixture
def steps(plan: Plan) -> list[Step]:
    recipes = tuple((name, plan.recipes[0][1]) for name in ("original", "enhanced"))
    plan = replace(plan, rungs=LADDERS["convnext-nano"], recipes=recipes)
    scores = {rung.name: 80.0 + i / 2 for i, rung in enumerate(plan.rungs)}
    lost = [("gelu", 0), ("gelu", 1), ("layer_norm", 1)]
    results = [fake_result(t, scores[t.rung] + t.seed) for t in plan.trials() if (t.rung, t.seed) not in lost]
    return summarize(plan, results)


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


def test_a_reference_far_below_leaves_the_road_its_room(steps: list[Step]) -> None:
    before = draw_road(steps, "title", MACS).axes[0].get_ylim()
    low = Step(REFERENCES["vit-nano"], (replace(steps[0].results[0], top1=20.0),), 1)
    figure = draw_road([*steps, low], "title", MACS)
    assert figure.axes[0].get_ylim() == pytest.approx(before)
    assert "ViT-nano: 20.0 %" in [text.get_text()[4:] for text in figure.legends[0].get_texts()]
    high = replace(low, results=(replace(steps[0].results[0], top1=99.0),))
    assert draw_road([*steps, high], "title", MACS).axes[0].get_ylim()[1] > 99


def test_a_title_is_text_whatever_it_holds(tmp_path: Path, steps: list[Step]) -> None:
    title = r"""$x^2$ \frac{ [red] <b> & "it's" é"""
    for file in plot_study(tmp_path, title, steps):
        if file.suffix == ".svg":
            texts = ["".join(text.itertext()) for text in ET.parse(file).iter("{http://www.w3.org/2000/svg}text")]
            assert sum(text.startswith(f"{title}: ") for text in texts) == 1


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


def test_the_road_goes_through_adopted_steps(steps: list[Step]) -> None:
    axes = draw_road(steps, "title", MACS).axes[0]
    adopted = [step.top1.mean for step in steps if step.rung.adopted and step.results]
    assert list(axes.lines[0].get_ydata()) == pytest.approx(adopted)


def test_a_study_of_tried_steps_alone_has_no_road_but_points(steps: list[Step]) -> None:
    tried = [replace(step, rung=replace(step.rung, adopted=False)) for step in steps[:3]]
    figure = draw_road(tried, "title", MACS)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 3
    assert figure.axes[0].get_ylim()[0] > 70


def test_an_original_recipe_far_below_is_drawn_at_the_roads_edge(steps: list[Step]) -> None:
    start = replace(steps[0], results=tuple(replace(result, top1=50.0) for result in steps[0].results))
    axes = draw_road([start, *steps[1:]], "title", MACS).axes[0]
    low, _ = axes.get_ylim()
    assert 75 < low == next(iter(axes.lines[0].get_ydata()))
    assert any("(original recipe): 50.0 %" in str(point.get_label()) for point in axes.lines)


def test_a_change_beyond_the_axis_is_an_arrow(steps: list[Step]) -> None:
    start = replace(steps[0], results=tuple(replace(result, top1=50.0) for result in steps[0].results))
    changed = [replace(steps[1], base=start), *steps[2:]]
    marks = [line.get_marker() for line in draw_changes(changed, "title").axes[0].lines]
    assert (marks.count(">"), marks.count("<")) == (2, 0)  # its mean, and an end of its interval


def test_one_step_and_none() -> None:
    rung = LADDERS["convnext-nano"][0]
    empty = [Step(rung, (), 3)]
    assert axis_limits(empty) == (0.0, 100.0)
    draw_steps(empty, "title")
    for draw in (draw_changes, draw_curves, draw_times):
        draw(empty, "title")
    draw_road(empty, "title", SECONDS)


@pytest.mark.parametrize("values", [(95.0, 95.0), (95.1, 97.3), (10.0, 99.0), (0.0, 0.4), (99.9, 100.0)])
def test_axis_limits_hold_the_values(values: tuple[float, float], steps: list[Step]) -> None:
    two = [replace(steps[0], results=tuple(replace(steps[0].results[0], top1=v) for v in values))]
    low, high = axis_limits(two)
    assert 0 <= low <= min(values) <= max(values) <= high <= 100
    assert low < high
