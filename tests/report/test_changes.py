from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.analysis.stats import Step
from ablations.report.changes import FAR, change_limit, draw_changes, find_reach
from ablations.study.trial import Plan
from convnext_path import LADDERS
from tests.conftest import fake_result


def make_change(plan: Plan, tops: list[float], before: float = 50.0) -> Step:
    """A step of one's own, that the paper has no change for."""
    rung = replace(LADDERS["convnext-nano"][5], scale=plan.rungs[0].scale, change=("wider", True))
    trials = [replace(plan.trials()[0], seed=seed) for seed in range(len(tops))]
    base = Step(replace(rung, name="base"), tuple(fake_result(trial, before) for trial in trials), len(tops))
    return Step(rung, tuple(fake_result(t, top) for t, top in zip(trials, tops, strict=True)), len(tops), base)


TOPS = st.lists(st.floats(0, 100), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.lists(TOPS, min_size=1, max_size=5))
def test_every_interval_that_is_not_marked_as_cut_lies_within_the_axis(plan: Plan, tops: list[list[float]]) -> None:
    steps = [make_change(plan, values) for values in tops]
    axes = draw_changes(steps, "title").axes[0]
    low, high = axes.get_xlim()
    assert -low == high > 0
    cut = {float(y) for line in axes.lines if line.get_marker() in ("<", ">") for y in line.get_ydata()}  # type: ignore[union-attr]
    for place, step in zip(axes.get_yticks(), steps, strict=True):
        assert float(place) in cut or find_reach(step) <= high
        assert any(text.get_text().startswith(f"{step.change.mean:+.2f}") for text in axes.texts)
    assert len(cut) < len(steps)


@pytest.mark.parametrize(
    ("tops", "cut"),
    [
        ([[51.0, 53.0], [60.0, 68.0]], 0),  # as seen: ±13 and ±53
        ([[50.5], [51.0], [50.2]], 0),
        ([[50.0], [50.0]], 0),
        ([[50.5], [51.0], [50.2], [99.0]], 1),
        ([[50.5], [99.0]], 1),
    ],
)
def test_only_what_would_press_the_others_flat_is_cut(plan: Plan, tops: list[list[float]], cut: int) -> None:
    steps = [make_change(plan, values) for values in tops]
    marks = [line.get_marker() for line in draw_changes(steps, "title").axes[0].lines]
    assert marks.count(">") + marks.count("<") == cut


def test_the_axis_ends_close_to_the_farthest(plan: Plan) -> None:
    steps: list[Any] = [make_change(plan, [50.0 + reach]) for reach in (1, 2, 3, 2 * FAR)]
    assert change_limit(steps) == pytest.approx(1.05 * 2 * FAR)
    assert change_limit([*steps, make_change(plan, [99.0])]) == pytest.approx(1.05 * 2 * FAR)
    assert change_limit([]) > 0
