import math
import random
from dataclasses import replace

from rich.console import Console

from ablations.analysis.stats import Agreement, summarize
from ablations.analysis.tables import (
    agrees,
    cost_rows,
    count_costs,
    describe_agreement,
    show_costs,
    show_count,
    show_number,
    show_results,
    to_frame,
)
from ablations.study.trial import Plan
from convnext_path import LADDERS
from convnext_path.ladder import select_rungs
from tests.conftest import COST, fake_result


def render(table: object) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_screens_table_fits_eighty_columns(plan: Plan) -> None:
    rungs = LADDERS["convnext-nano"]
    recipes = tuple((name, plan.recipes[0][1]) for name in ("original", "enhanced"))
    plan = replace(plan, rungs=rungs, recipes=recipes)
    noise = random.Random(0)
    text = render(show_results(summarize(plan, [fake_result(t, noise.uniform(60, 99)) for t in plan.trials()[:20]])))
    assert "separate downsampling" in text
    assert "…" not in text
    assert "no result" in render(show_results(summarize(plan, [])))


def test_the_screen_says_how_sure_it_is(plan: Plan) -> None:
    scores = {("recipe", 0): 80.0, ("recipe", 1): 82.0, ("layer_norm", 0): 84.0, ("layer_norm", 1): 88.0}
    results = [fake_result(trial, scores[trial.rung, trial.seed]) for trial in plan.trials()]
    text = " ".join(render(show_results(summarize(plan, results))).split())
    assert "86.00 ±25 +5.00 ±13 ? 0.126 +2.65 7.00M 1.5" in text
    assert "2 seeds. ±: half the 95 % confidence interval." in text
    assert "?: cannot tell, the interval contains zero or is missing." in text
    assert "1 of 1 changes have the same sign as in the paper." in text
    alone = render(show_results(summarize(replace(plan, seeds=(0,)), results[:2])))
    assert "±" not in alone
    assert "One seed: no intervals" in alone


def test_a_title_is_text(plan: Plan) -> None:
    plan = replace(plan, rungs=(plan.rungs[0], replace(plan.rungs[1], title="mine [red] x")))
    assert "mine [red] x" in render(show_results(summarize(plan, [fake_result(trial) for trial in plan.trials()])))


def test_an_order_without_doubt_is_told_without_an_interval() -> None:
    sentence = describe_agreement(Agreement(5, 5, 5, 1.0))
    assert sentence == "5 of 5 changes have the same sign as in the paper; rank correlation +1.00."


def test_the_files_columns(plan: Plan) -> None:
    steps = summarize(plan, [fake_result(trial, 80.0 + trial.seed) for trial in plan.trials()])
    frame = to_frame(steps).set_index("rung")
    assert list(frame["n"]) == [2, 2]
    assert frame.loc["recipe", "params"] == COST.params
    assert list(frame["verdict"]) == ["", "cannot tell"]
    assert frame.loc["layer_norm", ["base", "change_n", "change"]].to_list() == ["recipe", 2, 0.0]
    assert frame.loc["recipe", "low"] < 80.0 < 81.0 < frame.loc["recipe", "high"]


def test_the_cost_table_marks_what_disagrees() -> None:
    rungs = select_rungs(LADDERS["convnext-t"], ["layer_norm", "separate_downsampling"])
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
