from dataclasses import replace

import pytest
from matplotlib.axes import Axes
from matplotlib.legend import Legend

from ablations.analysis.stats import Step
from ablations.report.roads import MACS, draw_road, draw_times
from convnext_path.references import REFERENCES


def read_points(axes: Axes) -> list[tuple[float, float]]:
    """Where the numbered points are drawn."""
    lines = [line for line in axes.lines if line.get_marker() == "o"]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]  # type: ignore[index]


def find_legend(axes: Axes) -> Legend:
    legend = axes.get_legend()
    assert legend
    return legend


def test_a_reference_far_below_leaves_the_road_its_room(steps: list[Step]) -> None:
    before = draw_road(steps, "title", MACS).axes[0].get_ylim()
    low = Step(REFERENCES["vit-nano"], (replace(steps[0].results[0], top1=20.0),), 1)
    figure = draw_road([*steps, low], "title", MACS)
    assert figure.axes[0].get_ylim() == pytest.approx(before)
    assert "ViT-nano: 20.0 %" in [text.get_text()[4:] for text in find_legend(figure.axes[0]).get_texts()]
    high = replace(low, results=(replace(steps[0].results[0], top1=99.0),))
    assert draw_road([*steps, high], "title", MACS).axes[0].get_ylim()[1] > 99


def test_the_road_goes_through_adopted_steps(steps: list[Step]) -> None:
    axes = draw_road(steps, "title", MACS).axes[0]
    adopted = [step.top1.mean for step in steps if step.rung.adopted and step.results]
    assert list(axes.lines[0].get_ydata()) == pytest.approx(adopted)


def test_a_study_of_tried_steps_alone_has_no_road_but_points(steps: list[Step]) -> None:
    tried = [replace(step, rung=replace(step.rung, adopted=False)) for step in steps[:3]]
    figure = draw_road(tried, "title", MACS)
    assert len(find_legend(figure.axes[0]).get_texts()) == 3
    assert figure.axes[0].get_ylim()[0] > 70


def test_an_original_recipe_far_below_is_drawn_at_the_roads_edge(steps: list[Step]) -> None:
    start = replace(steps[0], results=tuple(replace(result, top1=50.0) for result in steps[0].results))
    axes = draw_road([start, *steps[1:]], "title", MACS).axes[0]
    low, _ = axes.get_ylim()
    assert low > 75
    assert [(line.get_marker(), line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "v"] == [("v", low)]
    assert axes.lines[0].get_ydata()[0] == 50  # the road leads there
    assert any("(original recipe): 50.0 %" in str(point.get_label()) for point in axes.lines)


def test_points_stand_at_what_was_measured(steps: list[Step]) -> None:
    shown = [step for step in steps if step.results]
    assert read_points(draw_road(steps, "title", MACS).axes[0]) == [(step.macs, step.top1.mean) for step in shown]
    assert read_points(draw_times(steps, "title").axes[0]) == [(step.macs, 1.0) for step in shown]
