import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from ablations.report.scatter import LABEL, Point, draw_numbers, find_labels, spread

PLACES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=8)


@settings(max_examples=20, deadline=None)
@given(PLACES)
def test_points_are_drawn_where_they_are(places: list[tuple[int, int]]) -> None:
    axes = Figure().add_subplot()
    axes.set_xlim(*spread([x for x, _ in places]))
    axes.set_ylim(*spread([y for _, y in places]))
    draw_numbers(axes, [Point(x, y, number, "name") for number, (x, y) in enumerate(places, 1)])
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines] == places  # type: ignore[index]
    assert all(line.get_transform() == axes.transData for line in axes.lines)
    assert [text.xy for text in axes.texts] == places  # type: ignore[attr-defined]
    assert [text.get_text() for text in axes.texts] == [f"{number}" for number in range(1, len(places) + 1)]


@given(PLACES)
def test_numbers_stand_beside_their_points_and_not_on_each_other(places: list[tuple[int, int]]) -> None:
    points = [complex(*place) for place in places]
    labels = [point + move for point, move in zip(points, find_labels(points), strict=True)]
    assert all(abs(label - point) <= 50.1 for label, point in zip(labels, points, strict=True))
    if len(places) <= 5:
        assert all(abs(one - other) > LABEL - 0.1 for i, one in enumerate(labels) for other in labels[:i])


def test_a_number_alone_stands_close() -> None:
    (move,) = find_labels([3 + 4j])
    assert abs(move) < LABEL


def test_what_lies_beyond_the_axis_is_an_arrow_and_what_none_holds_is_written() -> None:
    axes = Figure().add_subplot()
    axes.set(xlim=(0, 10), ylim=(50, 60))
    points = [Point(1, 55, 1, "in"), Point(2, 40, 2, "below"), Point(3, 70, 3, "above"), Point(np.inf, 55, 4, "far")]
    draw_numbers(axes, points)
    assert [line.get_marker() for line in axes.lines] == ["o", "v", "^", "o"]
    assert [line.get_ydata()[0] for line in axes.lines][:3] == [55, 50, 60]  # type: ignore[index]
    assert "far: not drawn (inf, 55)" in str(axes.lines[3].get_label()).replace("\n", " ")
    assert len(axes.texts) == 3


@pytest.mark.parametrize(
    "values", [[], [0.0], [5.0], [-3.0], [1, 2], [1e308, 1], [np.nan, 2], [1e-300], [7.0, 7.0000000001]]
)
def test_limits_hold_what_can_be_drawn(values: list[float]) -> None:
    low, high = spread(values)
    assert np.isfinite([low, high]).all()
    assert low < high
    assert all(low < value < high for value in values if value == 0 or 1e-100 < abs(value) < 1e100)
