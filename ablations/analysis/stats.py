"""What the seeds say of a study's steps: means, changes, and how sure they are.

Intervals hold 95 %, by Student's t. A change is the mean of the differences from the base's results of the same seeds,
and is judged for itself by its interval; its p-value is corrected for how many steps are looked at.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np
from scipy import stats

from ablations.study.predictions import Answers
from ablations.study.trial import Plan, Result
from convnext_path import LADDERS, Rung

LEVEL = 0.95
RESOLUTION = 1e-4  # points: what is closer is equal; accuracies are float32, and an image is worth more
HUGE = 1e100  # values from which on nothing is estimated: floats do not hold their squares
VERDICTS = ("gain", "loss", "cannot tell")


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` seeds with its interval, and the p-value of zero; what cannot be had is not a number.

    One seed gives no interval. Neither do seeds that agree to the digit, which tell nothing of their spread.
    """

    n: int
    mean: float = math.nan
    std: float = math.nan  # n - 1
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan

    @property
    def margin(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2

    @property
    def is_told(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of values in percent or points, one a seed."""
    n = len(values)
    mean = average(values)
    mean = 0.0 if abs(mean) < RESOLUTION else mean
    if n < 2 or not all(abs(value) < HUGE for value in values):
        return Estimate(n, mean)
    std = stdev(values)
    if std < RESOLUTION:
        return Estimate(n, mean, 0.0)
    test = stats.ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(LEVEL)
    return Estimate(n, mean, std, float(low), float(high), float(test.pvalue))


def average(values: Sequence[float]) -> float:
    """The mean; not a number of none, infinite where no float holds it."""
    try:
        return fmean(values) if values else math.nan
    except OverflowError:
        return math.inf


def correct(ps: Sequence[float]) -> list[float]:
    """P-values after Holm's correction (1979) for their number; those that are not numbers do not count."""
    values = np.asarray(ps, dtype=float)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # nan sorts last
    factors = np.arange(len(order), 0, -1)
    corrected = np.full(len(values), math.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return [float(p) for p in corrected]


@dataclass(frozen=True)
class Step:
    """A rung, its results over seeds, and the step that it changes: the last adopted one with results, or a flip's own.

    Accuracies are top-1 in percent, changes in points.
    """

    rung: Rung
    results: tuple[Result, ...]
    seeds: int  # that were planned
    base: "Step | None" = None
    p: float = math.nan  # of the change, corrected for the study's number of changes

    @property
    def accuracies(self) -> list[float]:
        """One a seed."""
        return [result.top1 for result in self.results]

    @property
    def top1(self) -> Estimate:
        return estimate(self.accuracies)

    @property
    def title(self) -> str:
        """The rung's, with what it is compared with where more lies between than its own change."""
        if self.base is None:
            return self.rung.title
        before, after = ({"recipe": s.rung.recipe, **s.rung.flags.to_dict()} for s in (self.base, self))
        leap = sum(before.get(name) != after.get(name) for name in {**before, **after}) > 1
        return f"{self.rung.title}, from {self.base.rung.title}" if leap else self.rung.title

    @property
    def differences(self) -> list[float]:
        """From the base's accuracies, one a seed that both have; none where there is no base."""
        before = {result.trial.seed: result.top1 for result in self.base.results} if self.base else {}
        return [r.top1 - before[r.trial.seed] for r in self.results if r.trial.seed in before]

    @property
    def change(self) -> Estimate:
        """The mean of the differences."""
        return estimate(self.differences)

    @property
    def verdict(self) -> str:
        """What the change's interval says, one of :data:`VERDICTS`; empty where there is no change."""
        change = self.change
        if not change.n:
            return ""
        gain, loss, cannot_tell = VERDICTS
        return cannot_tell if not change.is_told else gain if change.mean > 0 else loss

    @property
    def paper_change(self) -> float:
        """What the same change gave in the paper, for a ladder that it lacks from ResNet-50 to ConvNeXt-T."""
        before, after = (find_published(rung) for rung in (self.base.rung, self.rung)) if self.base else (None, None)
        return math.nan if before is None or after is None else after - before

    @property
    def gap(self) -> str:
        """What is missing of it, in words: "2 of 3 seeds"; empty where nothing is."""
        n = len(self.results)
        return "" if n == self.seeds else f"{n} of {self.seeds} seeds" if n else "no result"

    @property
    def macs(self) -> float:
        """Multiply-accumulates as the paper counts."""
        return self.mean(lambda result: result.cost.paper_macs)

    def mean(self, measure: Callable[[Result], float]) -> float:
        """The mean of a measure over the results; not a number without any."""
        return average([measure(result) for result in self.results])


def summarize(plan: Plan, results: Sequence[Result]) -> list[Step]:
    """A step for each rung of the plan, in order."""
    steps: dict[str, Step] = {}
    last: Step | None = None
    for rung in plan.rungs:
        base = None if rung.is_reference else steps.get(rung.base) if rung.base else last
        step = Step(rung, tuple(r for r in results if r.trial.rung == rung.name), len(plan.seeds), base)
        steps[rung.name] = step
        last = step if rung.adopted and step.results else last
    ps = [1.0 if step.change.std == 0 else step.change.p for step in steps.values()]  # a tie tells nothing, and counts
    corrected = correct(ps)
    return [replace(step, p=p) for step, p in zip(steps.values(), corrected, strict=True)]


def is_ladder(steps: Sequence[Step]) -> bool:
    """Whether any of them is a step of a road; else they are networks side by side."""
    return not all(step.rung.is_reference for step in steps)


def name_row(steps: Sequence[Step]) -> str:
    """What a line of their table is."""
    return "step" if is_ladder(steps) else "model"


#: Top-1 in the papers, by flags and recipe, at the size that most is published of.
PUBLISHED = {
    (rung.flags, rung.recipe): rung.paper_top1
    for name in ("convnext-t", "swin-t")
    for rung in LADDERS[name]
    if rung.paper_top1 is not None
}


def find_published(rung: Rung) -> float | None:
    """A rung's top-1 in its paper, or that of ResNet-50's, ConvNeXt-T's or Swin-T's rung with its flags and recipe."""
    return rung.paper_top1 or PUBLISHED.get((rung.flags, rung.recipe))


@dataclass(frozen=True)
class Agreement:
    """Our changes beside the paper's: how many of those that it has a sign for agree, and the rank correlation."""

    n: int  # changes
    signed: int  # that are not zero in the paper
    signs: int  # of these, that have its sign
    rank: float = math.nan
    low: float = math.nan
    high: float = math.nan


def agree(steps: Sequence[Step]) -> Agreement:
    """How far the changes follow the paper's: Spearman's correlation, its interval Fieller's (1957), from five on."""
    pairs = [(s.change.mean, s.paper_change) for s in steps if s.change.n and not math.isnan(s.paper_change)]
    n, signed = len(pairs), [ours * theirs for ours, theirs in pairs if theirs]
    counts = n, len(signed), sum(product > 0 for product in signed)
    if n < 5 or any(len(set(column)) < 2 for column in zip(*pairs, strict=True)):
        return Agreement(*counts)
    rank = float(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
    if math.isclose(abs(rank), 1):
        return Agreement(*counts, rank)
    margin = stats.norm.ppf((1 + LEVEL) / 2) * math.sqrt(1.06 / (n - 3))
    low, high = np.tanh(np.arctanh(rank) + np.array([-margin, margin]))
    return Agreement(*counts, rank, float(low), float(high))


def compare_answers(first: Answers, second: Answers) -> float:
    """McNemar's exact test: the p-value of as many images that one alone has right, were both as good."""
    one, other = (int(np.sum(a.right & ~b.right)) for a, b in ((first, second), (second, first)))
    return float(stats.binomtest(one, one + other).pvalue) if one + other else 1.0
