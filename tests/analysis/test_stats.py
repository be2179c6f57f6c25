import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from scipy.stats import binom

from ablations.analysis.stats import Step, agree, compare_answers, correct, estimate, find_published, summarize
from ablations.study.trial import Plan
from convnext_path import LADDERS
from convnext_path.ladder import flip
from convnext_path.references import REFERENCES
from tests.conftest import fake_result
from tests.study.test_predictions import make_answers

Scores = dict[tuple[str, int], float]


def make_steps(plan: Plan, scores: Scores) -> list[Step]:
    return summarize(
        plan, [fake_result(t, scores[t.rung, t.seed]) for t in plan.trials() if (t.rung, t.seed) in scores]
    )


def test_an_estimate_by_hand() -> None:
    found = estimate([1.0, 2.0, 3.0])
    margin = 4.302653 / math.sqrt(3)  # Student's t of 2 degrees of freedom at 97.5 %
    assert (found.n, found.mean, found.std) == (3, 2.0, 1.0)
    assert (found.low, found.high) == pytest.approx((2 - margin, 2 + margin), abs=1e-5)
    assert found.margin == pytest.approx(margin, abs=1e-5)
    assert found.p == pytest.approx(0.0742, abs=1e-4)
    assert not found.is_told


@pytest.mark.parametrize("values", [[], [5.0], [95.1, 95.1, 95.1], [-1.38888955, -1.38888359]])
def test_what_tells_nothing_of_its_spread_has_no_interval(values: list[float]) -> None:
    found = estimate(values)
    assert found.n == len(values)
    assert all(math.isnan(x) for x in (found.low, found.high, found.margin, found.p))
    assert not found.is_told


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8).filter(lambda v: np.std(v) > 1e-3))
def test_the_interval_holds_zero_just_where_p_is_above_a_twentieth(values: list[float]) -> None:
    found = estimate(values)
    assert found.low < found.mean < found.high
    assert found.is_told == (found.p < 0.05)


@pytest.mark.slow
def test_95_of_100_intervals_hold_the_truth() -> None:
    noise = np.random.default_rng(0).normal(1.5, 0.7, (2000, 3))
    held = [found.low <= 1.5 <= found.high for found in map(estimate, noise.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_holms_correction_by_hand() -> None:
    assert correct([0.01, 0.04, math.nan, 0.03, 0.6])[:2] == pytest.approx([0.04, 0.09])
    assert correct([0.01, 0.04, math.nan, 0.03, 0.6])[3:] == pytest.approx([0.09, 0.6])
    assert correct([]) == []
    assert math.isnan(correct([math.nan])[0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_corrected_p_lie_between_their_own_and_bonferronis_in_the_same_order(ps: list[float]) -> None:
    corrected = correct(ps)
    assert all(p <= c <= min(p * len(ps), 1) + 1e-12 for p, c in zip(ps, corrected, strict=True))
    order = np.argsort(ps, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)


def test_ties_count_among_the_changes_and_tell_nothing(plan: Plan) -> None:
    """Accuracies are float32: the same number of images more is not the same number to the last digit."""
    scores = {("recipe", 0): 95.27778, ("recipe", 1): 93.88889, ("layer_norm", 0): 93.888894, ("layer_norm", 1): 92.5}
    _, step = make_steps(plan, scores)
    assert (step.verdict, step.p) == ("cannot tell", 1.0)
    assert estimate([0.55555, -0.277775, -0.277779]).mean == 0.0


def test_a_leap_over_several_steps_is_named(plan: Plan) -> None:
    recipe, norm = (summarize(plan, [])[i].rung for i in range(2))
    gap = LADDERS["convnext-nano"][-1]
    steps = summarize(replace(plan, rungs=(recipe, norm, gap), seeds=(0,)), [])
    assert [step.title for step in steps] == [recipe.title, norm.title, gap.title]
    results = [fake_result(trial) for trial in replace(plan, rungs=(recipe, gap), seeds=(0,)).trials()]
    _, _, last = summarize(replace(plan, rungs=(recipe, norm, gap), seeds=(0,)), results)
    assert last.title == f"{gap.title}, from {recipe.title}"


def test_a_published_figure_is_of_the_same_network(plan: Plan) -> None:
    first, second, third = LADDERS["convnext-t"][1:4]
    other = replace(third, paper_top1=None, flags=replace(third.flags, stage_ratio=False))
    assert find_published(second) == second.paper_top1
    assert find_published(other) is None
    assert find_published(replace(first, name="another name", paper_top1=None)) == first.paper_top1


def test_changes_are_paired_by_seed(plan: Plan) -> None:
    plan = replace(plan, seeds=(0, 1, 2))
    scores = {("recipe", 0): 80.0, ("recipe", 1): 90.0, ("layer_norm", 1): 91.0, ("layer_norm", 2): 70.0}
    first, second = make_steps(plan, scores)
    assert (first.change.n, second.change.n, second.change.mean) == (0, 1, 1.0)
    assert second.gap == "2 of 3 seeds"
    scores |= {("layer_norm", 0): 82.0, ("recipe", 2): 67.0}
    _, second = make_steps(plan, scores)
    paired = scipy_stats.ttest_rel([82.0, 91.0, 70.0], [80.0, 90.0, 67.0])
    assert (second.change.mean, second.change.p) == pytest.approx((2.0, paired.pvalue))
    assert (first.verdict, second.verdict) == ("", "gain" if paired.pvalue < 0.05 else "cannot tell")


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((2.0, 2.1, 1.9), "gain"),
        ((-2.0, -2.1, -1.9), "loss"),
        ((2.0, -2.0, 1.0), "cannot tell"),
        ((1, 1, 1), "cannot tell"),
    ],
)
def test_verdicts(plan: Plan, gains: tuple[float, ...], verdict: str) -> None:
    plan = replace(plan, seeds=(0, 1, 2))
    scores = {("recipe", s): 80.0 for s in plan.seeds} | {("layer_norm", s): 80.0 + g for s, g in enumerate(gains)}
    assert make_steps(plan, scores)[1].verdict == verdict


def test_the_change_is_from_the_last_adopted_step_that_has_results(plan: Plan) -> None:
    base, tried = plan.rungs
    rungs = (base, replace(tried, name="a", adopted=False), replace(tried, name="b"))
    plan = replace(plan, rungs=rungs, seeds=(0,))
    steps = make_steps(plan, {("recipe", 0): 80.0, ("a", 0): 90.0, ("b", 0): 85.0})
    assert [step.change.mean for step in steps[1:]] == [10.0, 5.0]
    steps = make_steps(plan, {("recipe", 0): 80.0, ("b", 0): 85.0})
    assert math.isnan(steps[1].top1.mean)
    assert steps[2].change.mean == 5.0


def walk(plan: Plan, gain: float) -> list[Step]:
    """The paper's steps of the small ladder, each change ``gain`` times the paper's."""
    recipes = tuple((name, plan.recipes[0][1]) for name in ("original", "enhanced"))
    published = {rung.name: rung.paper_top1 for rung in LADDERS["convnext-t"] if rung.paper_top1 is not None}
    rungs = tuple(rung for rung in LADDERS["convnext-nano"] if rung.name in published)
    plan = replace(plan, rungs=rungs, recipes=recipes, seeds=(0,))
    return make_steps(plan, {(name, 0): 50 + gain * (top1 - 80) for name, top1 in published.items()})


@pytest.mark.parametrize(("gain", "signs", "rank"), [(1.0, 15, 1.0), (-1.0, 0, -1.0)])
def test_agreement_with_the_paper(plan: Plan, gain: float, signs: int, rank: float) -> None:
    steps = walk(plan, gain)
    assert steps[1].paper_change == pytest.approx(78.82 - 76.13)
    found = agree(steps)
    assert (found.n, found.signed, found.signs) == (16, 15, signs)  # kernel size 9 changes nothing there
    assert found.rank == pytest.approx(rank)
    assert math.isnan(found.low)  # a perfect order tells nothing of its doubt


def test_a_few_steps_agree_in_sign_alone(plan: Plan) -> None:
    found = agree(walk(plan, 1.0)[:4])
    assert (found.signed, found.signs) == (3, 3)
    assert math.isnan(found.rank)


def test_a_flip_has_no_figure_of_the_papers(plan: Plan) -> None:
    step = walk(plan, 1.0)[-1]
    assert math.isnan(Step(flip(step.rung, "gelu", False), (), 1, step).paper_change)


def test_a_reference_changes_nothing_and_nothing_changes_from_it(plan: Plan) -> None:
    plan = replace(plan, rungs=(plan.rungs[0], REFERENCES["swin-nano"], plan.rungs[1]))
    results = [fake_result(trial, 80.0 + i) for i, trial in enumerate(plan.trials())]
    first, reference, second = summarize(plan, results)
    assert (reference.base, reference.change.n) == (None, 0)
    assert second.base is not None
    assert second.base.rung == first.rung


def test_mcnemar_counts_images_that_one_alone_has_right() -> None:
    truth = [0] * 20
    one, other = make_answers(truth, [0] * 18 + [1] * 2), make_answers(truth, [0] * 9 + [1] * 9 + [0] * 2)
    assert compare_answers(one, other) == pytest.approx(2 * binom.cdf(2, 11, 0.5))
    assert compare_answers(other, one) == compare_answers(one, other)
    assert compare_answers(one, one) == 1
