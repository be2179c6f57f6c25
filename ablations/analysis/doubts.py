"""Why a study cannot answer what it asks, as far as that follows from its plan and from how many images there are."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, Literal

from scipy import stats

from ablations.analysis.stats import LEVEL
from ablations.study.steps import SHORTENING, EpochSteps, count, count_steps, lift_limits
from ablations.study.trial import Plan, Result, Seen
from convnext_path import LADDERS, Recipe, Rung
from convnext_path.ladder import MODEL
from convnext_path.references import REFERENCES

STEPS = 10  # of an epoch; fewer are too few for a schedule
IMAGES = 200  # to validate; with fewer, one image is more than half a point

Seeds = Mapping[str, Collection[int]]  # that each rung has results of, or will have


@dataclass(frozen=True)
class Doubt:
    """One reason, as sentences that say what would help."""

    kind: Literal["steps", "validation", "seeds", "missing seeds"]
    text: str

    def __str__(self) -> str:
        return self.text


def find_doubts(plan: Plan, images: Seen | None, seeds: Seeds | None = None) -> list[Doubt]:
    """What speaks against a study's answers.

    Args:
        plan: of the whole study.
        images: None where nobody knows; then they give no doubt.
        seeds: that each rung has results of, or will have (default: all that the plan has).
    """
    seeds = {rung.name: plan.seeds for rung in plan.rungs} if seeds is None else seeds
    found = [*doubt_seeds(plan, seeds), *doubt_missing(plan, seeds)]
    if images is not None:
        found = [*doubt_steps(plan, images), *doubt_validation(plan, images), *doubt_limit(plan, images), *found]
    return list(dict.fromkeys(found))


def list_seeds(results: Sequence[Result]) -> dict[str, set[int]]:
    """The seeds that each rung has results of."""
    found: dict[str, set[int]] = {}
    for result in results:
        found.setdefault(result.trial.rung, set()).add(result.trial.seed)
    return found


def doubt_steps(plan: Plan, images: Seen) -> Iterator[Doubt]:
    """For each recipe whose epochs have few steps."""
    trainer, differ = dict(plan.trainer), len({recipe.batch_size for _, recipe in plan.recipes}) > 1
    for name, recipe in plan.recipes:
        now, whose = try_steps(recipe, trainer, images), f" of recipe {name}" * differ
        if now and now.steps < STEPS:
            remedy = find_steps(recipe, trainer, images) or "more images would help"
            of = f"{images.train} images, batch size {recipe.batch_size}{describe_shortening(trainer)}"
            yield Doubt(
                "steps",
                f"Each epoch{whose} has {count(now.steps, 'training step')} ({of}). "
                f"With fewer than {STEPS}, a learning rate schedule means little; {remedy}.",
            )


def try_steps(recipe: Recipe, trainer: Mapping[str, object], images: Seen) -> EpochSteps | None:
    """An epoch's steps; None where the options leave none, as those of old studies may."""
    try:
        return count_steps(recipe, trainer, images)
    except ValueError:
        return None


def find_steps(recipe: Recipe, trainer: Mapping[str, object], images: Seen) -> str:
    """What would give enough steps; empty where nothing would."""
    lifted = describe_shortening(trainer).removeprefix(", ")
    without = f" without {lifted}" if lifted else ""
    if lifted and (whole := try_steps(recipe, lift_limits(trainer), images)) and whole.steps >= STEPS:
        return f"{count(whole.steps, 'step')}{without}"
    together = count_processes(trainer)
    size = images.train // STEPS // together * together
    if size < max(2, 2 * together * (together > 1)):
        return ""
    smaller = count_steps(replace(recipe, batch_size=size), lift_limits(trainer), images)
    return f"--batch-size {size} gives {smaller.steps}{without}"


def describe_shortening(trainer: Mapping[str, object]) -> str:
    """The options that leave an epoch fewer steps than it has batches."""
    return "".join(f", --trainer.{name} {trainer[name]}" for name in SHORTENING if name in trainer)


def count_processes(trainer: Mapping[str, object]) -> int:
    """That share a batch, as far as the options say it in numbers."""
    product = 1
    for name in ("devices", "num_nodes"):
        value = trainer.get(name, 1)
        product *= value if isinstance(value, int) and value > 0 else 1
    return product


def doubt_validation(plan: Plan, images: Seen) -> Iterator[Doubt]:
    """Where one image weighs much."""
    trainer = dict(plan.trainer)
    found = [steps.validated for _, recipe in plan.recipes if (steps := try_steps(recipe, trainer, images))]
    few = min(found, default=IMAGES)
    if few < IMAGES:
        limit: Any = trainer.get("limit_val_batches")
        more = "; more validation images would help"
        if few != images.val:
            more = f"; there are {images.val} without --trainer.limit_val_batches {limit}"
        text = f"Only {count(few, 'validation image')}: one is worth {100 / few:.1f} points of top-1 accuracy{more}."
        yield Doubt("validation", text)


def doubt_limit(plan: Plan, images: Seen) -> Iterator[Doubt]:
    """Where only the first images are validated."""
    trainer = dict(plan.trainer)
    found = [steps.validated for _, recipe in plan.recipes if (steps := try_steps(recipe, trainer, images))]
    if (first := min(found, default=images.val)) < images.val:
        limit: Any = trainer["limit_val_batches"]
        yield Doubt(
            "validation",
            f"--trainer.limit_val_batches {limit} uses only the first {first} of {images.val} validation images. "
            "If images are sorted by class, as in folders, the last classes are left out.",
        )


def doubt_seeds(plan: Plan, seeds: Seeds) -> Iterator[Doubt]:
    """Where a ladder's changes have too few seeds to be told from chance."""
    most = max(map(len, seeds.values()), default=0)
    if len(plan.rungs) < 2 or all(rung.is_reference for rung in plan.rungs):
        return
    if most == 1:
        yield Doubt("seeds", "One seed cannot tell a change from chance; --seeds 3 gives confidence intervals.")
    elif most == 2:
        two, three = find_spread(2), find_spread(3)
        yield Doubt(
            "seeds",
            f"2 seeds tell a change from chance only if it is {two:.1f} times the standard deviation of its "
            f"differences from seed to seed. With 3 seeds (--seeds 3), {three:.1f} times is enough.",
        )


def find_spread(n: int) -> float:
    """How many standard deviations of its differences a mean over ``n`` seeds must be from 0 to be told from it."""
    return float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) / sqrt(n)


def doubt_missing(plan: Plan, seeds: Seeds) -> Iterator[Doubt]:
    """Rungs that lack seeds which others have, with the options that train these."""
    whole = sorted({seed for some in seeds.values() for seed in some})
    groups: dict[tuple[str, tuple[int, ...]], list[Rung]] = {}
    for rung in plan.rungs:
        if lacking := tuple(seed for seed in whole if seed not in seeds.get(rung.name, ())):
            groups.setdefault((find_kind(plan, rung), lacking), []).append(rung)
    for (kind, lacking), rungs in groups.items():
        names, those = ", ".join(rung.name for rung in rungs), ", ".join(map(str, lacking))
        few, noun = ("lacks", "lack")[len(rungs) > 1], ("seed", "seeds")[len(lacking) > 1]
        options = f"{select(plan, kind, rungs)} --seeds {spell(whole)}"
        text = f"{names} {few} {noun} {those}, which others have. The same command with {options} trains the rest."
        yield Doubt("missing seeds", text)


def find_kind(plan: Plan, rung: Rung) -> str:
    """What asks for a rung: its base for a flip, else "references", "models" or "rungs"."""
    if rung.section == MODEL:
        return "models"
    return rung.base or ("references" if rung.name in REFERENCES or rung.is_reference else "rungs")


def select(plan: Plan, kind: str, rungs: Sequence[Rung]) -> str:
    """The options that ask for rungs of a kind alone."""
    names = ",".join(rung.name for rung in rungs)
    if kind in ("rungs", "models"):
        return f"--{kind} {names}"
    if kind == "references":
        own = [rung.name for rung in plan.rungs if rung.name in {r.name for r in LADDERS.get(plan.ladder, ())}]
        return f"--rungs {own[0]} --references {names}" if own else f"--references {names}"
    flips = ",".join(rung.name.rpartition("/")[2] for rung in rungs)
    return f"--rungs {kind} --flip {flips}"


def spell(seeds: Sequence[int]) -> str:
    """Seeds as --seeds takes them: a number of them from 0 on, or themselves."""
    return str(len(seeds)) if list(seeds) == list(range(len(seeds))) else ",".join(map(str, seeds))
