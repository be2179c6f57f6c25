import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ablations.report.confusion import MOST, NAMED, NUMBERED, count_confusions, draw_confusions, has_confusions
from ablations.study.predictions import Answers
from tests.study.test_predictions import make_answers


def test_shares_are_of_each_classs_images_over_all_seeds() -> None:
    first = make_answers([0, 0, 1, 2], [0, 1, 1, 0])
    second = make_answers([0, 0, 1, 2], [0, 0, 1, 2])
    assert count_confusions([first, second]) == pytest.approx(
        np.array([[0.75, 0.25, 0, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 0]])
    )


@pytest.mark.parametrize("networks", [1, 4])
def test_a_matrix_a_network_the_first_class_on_top(networks: int) -> None:
    answers = make_answers([0, 1, 2, 3], [0, 1, 1, 3])
    axes = draw_confusions({f"net {i}": [answers] for i in range(networks)}, "title").axes
    shown = [panel for panel in axes if panel.axison]
    assert [panel.get_title() for panel in shown] == [f"net {i}" for i in range(networks)]
    for place, panel in enumerate(shown):
        low, high = panel.get_ylim()
        assert (low, high) == (4, 0)
        assert [text.get_text() for text in panel.texts] == ["100"] * 4
        named = [label.get_text() for label in panel.get_xticklabels()]
        assert named == (list("abcd") if place + 3 >= networks else [])
        assert [label.get_text() for label in panel.get_yticklabels()] == (list("abcd") if place % 3 == 0 else [])


def test_classes_are_text_whatever_they_hold() -> None:
    answers = replace(make_answers([0], [0]), classes=("$5_$10", r"\frac{", "c", "d"))
    figure = draw_confusions({"net": [answers]}, "title")
    figure.savefig(io.BytesIO(), format="svg")
    assert figure.axes[0].get_yticklabels()[0].get_text() == "$5_$10"


@pytest.mark.parametrize("count", [NUMBERED + 1, NAMED + 1])
def test_many_classes_have_no_numbers_and_then_no_names(count: int) -> None:
    answers = make_answers([0], [0])
    names = tuple(f"class {i}" for i in range(count))
    axes = draw_confusions({"net": [type(answers)("d", "w", names, (0,), (0,), (1.0,))]}, "title").axes[0]
    assert not axes.texts
    assert len(axes.get_xticklabels()) == (count if count <= NAMED else 0)


@pytest.mark.parametrize("count", [NUMBERED, NAMED])
def test_long_names_of_classes_do_not_cover_each_other(count: int) -> None:
    names = tuple(f"{i} {'a class with a long name ' * 4}" for i in range(count))
    figure = draw_confusions({"net": [Answers("d", "w", names, (0,), (0,), (1.0,))]}, "title")
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    axes = figure.axes[0]
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(before.y0 >= after.y1 - 2 for before, after in pairwise(boxes))
    for box in (*boxes, *(label.get_window_extent() for label in axes.get_xticklabels())):
        assert -2 <= box.x0 <= box.x1 <= width + 2
        assert -2 <= box.y0 <= box.y1 <= height + 2


@pytest.mark.parametrize("networks", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [5, 40, 250])
def test_names_of_classes_leave_room_for_the_caption(networks: int, length: int) -> None:
    names = ("x" * length, *(f"class {i}" for i in range(11)))
    answers = Answers("d", "w", names, (0,), (0,), (1.0,))
    figure = draw_confusions({f"net {i}": [answers] for i in range(networks)}, "title")
    figure.draw_without_rendering()
    below = min(label.get_window_extent().y0 for axes in figure.axes for label in axes.get_xticklabels())
    beside = min(label.get_window_extent().x0 for axes in figure.axes for label in axes.get_yticklabels())
    assert below > figure._supxlabel.get_window_extent().y1  # type: ignore[attr-defined]
    assert beside > figure._supylabel.get_window_extent().x1  # type: ignore[attr-defined]


def test_long_names_of_classes_are_shortened_in_their_middle() -> None:
    answers = Answers("d", "w", (f"first{'x' * 250}last", "b"), (0,), (0,), (1.0,))
    label = draw_confusions({"net": [answers]}, "title").axes[0].get_yticklabels()[0].get_text()
    assert len(label) < 120
    assert label.startswith("first")
    assert "…" in label
    assert label.endswith("last")


def test_no_matrix_of_more_classes_than_points() -> None:
    many = Answers("d", "w", tuple(map(str, range(MOST + 1))), (0,), (0,), (1.0,))
    assert not has_confusions({"net": [many]})
    assert has_confusions({"net": [replace(many, classes=many.classes[1:])]})
    assert not has_confusions({})
    assert not has_confusions(None)
