import math
from dataclasses import replace

import pytest
from rich.console import Console

from ablations.tables import (
    agrees,
    cost_rows,
    count_costs,
    show_costs,
    show_count,
    show_number,
    show_results,
    summarize,
    to_frame,
)
from ablations.trial import Plan
from convnext_path import LADDERS
from tests.conftest import fake_result


def results_of(plan: Plan, table: dict[tuple[str, int], float]) -> list:
    trials = {(t.rung, t.seed): t for t in plan.trials()}
    return [fake_result(trials[key], top1) for key, top1 in table.items()]


def test_summary_by_hand(plan: Plan) -> None:
    scores = {("recipe", 0): 80.0, ("recipe", 1): 82.0, ("layer_norm", 0): 84.0, ("layer_norm", 1): 88.0}
    first, second = summarize(plan, results_of(plan, scores))
    assert (first.top1, first.std, second.top1, second.delta) == (81.0, pytest.approx(2**0.5), 86.0, 5.0)
    assert math.isnan(first.delta)
    assert second.macs == 7_000_500


def test_the_change_is_from_the_last_adopted_step_that_has_results(plan: Plan) -> None:
    base, tried = plan.rungs
    rungs = (base, replace(tried, name="a", adopted=False), replace(tried, name="b"))
    plan = replace(plan, rungs=rungs, seeds=(0,))
    steps = summarize(plan, results_of(plan, {("recipe", 0): 80.0, ("a", 0): 90.0, ("b", 0): 85.0}))
    assert [step.delta for step in steps[1:]] == [10.0, 5.0]
    steps = summarize(plan, results_of(plan, {("recipe", 0): 80.0, ("b", 0): 85.0}))
    assert math.isnan(steps[1].top1)
    assert steps[2].delta == 5.0


def test_one_seed_has_no_deviation(plan: Plan) -> None:
    (step, _) = summarize(plan, results_of(plan, {("recipe", 0): 80.0}))
    assert math.isnan(step.std)
    frame = to_frame([step])
    assert frame.loc[0, "n"] == 1
    assert step.gap == "1 of 2 seeds"
    assert math.isnan(frame.loc[0, "std"])


def render(table: object) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_screens_table_fits_eighty_columns(plan: Plan) -> None:
    rungs = LADDERS["convnext-nano"]
    recipes = tuple((name, plan.recipes[0][1]) for name in ("original", "enhanced"))
    plan = replace(plan, rungs=rungs, recipes=recipes)
    text = render(show_results(summarize(plan, [fake_result(trial) for trial in plan.trials()[:20]])))
    assert "separate downsampling (ConvNeXt-nano)" in text
    assert "90.00 ±0.00" in text
    assert "…" not in text
    assert "no result" in render(show_results(summarize(plan, [])))


def test_the_cost_table_marks_what_disagrees() -> None:
    rungs = LADDERS["convnext-t"][-2:]
    rows = cost_rows("convnext-t", rungs, count_costs(rungs))
    assert [agrees(row) for row in rows] == [False, False]
    text = render(show_costs(rows, "costs"))
    assert "-0.314" in text
    assert "…" not in text


def test_numbers() -> None:
    counts = {25_557_032: "25.6M", 4_089_184_256: "4.09G", 5.5e6: "5.50M", 884_000: "884k", 999_999: "1.00M", 12: "12"}
    assert [show_count(n) for n in counts] == list(counts.values())
    assert show_count(math.nan) == ""
    assert [show_number(1.234), show_number(None), show_number(math.nan), show_number(2, "{:+.1f}")] == [
        "1.23",
        "",
        "",
        "+2.0",
    ]
