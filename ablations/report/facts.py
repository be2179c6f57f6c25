"""How a study was made: its images, terms, hardware and versions, and which trials have no result."""

from collections.abc import Iterator, Sequence

from ablations.report.blocks import list_terms
from ablations.study.folder import StudyFolder
from ablations.study.steps import count, count_steps
from ablations.study.trial import Plan, Result, Seen
from ablations.training.seen import find_seen
from ablations.training.status import collect
from convnext_path.recipe import Recipe


def state_facts(plan: Plan, results: Sequence[Result]) -> Iterator[tuple[str, str]]:
    """Images, terms, then hardware and versions as the records have them."""
    seen = find_seen(plan, results)
    yield "Images", describe_images(seen) if seen else describe_curves(results)
    for recipe, terms in plan.recipes:
        yield f"Epochs of recipe {recipe}", describe_epochs(terms, plan, seen)
    yield "Ladder", f"{plan.ladder}, {len(plan.rungs)} rungs, seeds {', '.join(map(str, plan.seeds))}"
    yield "Data", ", ".join(f"{name} {value}" for name, value in plan.data.to_dict().items() if value not in (None, 0))
    unseen = "the held-out training images" if plan.data.holdout else "images that no network is trained on"
    yield "Reported", f"top-1 accuracy after the last epoch, on {unseen}"
    options = (f"{name} {value}" for name, value in plan.trainer)
    for recipe, terms in plan.recipes:
        yield f"Recipe {recipe}", ", ".join(line.text for line in list_terms(terms))
    yield "Trainer", ", ".join([f"CPU threads per trial {plan.threads}", *options])
    hours = sum(result.seconds for result in results) / 3600
    yield "Training", f"{len(results)} of {len(plan.trials())} trials have a result; {hours:.2f} hours in total"
    values = collect(
        pair for result in results for pair in {**dict(result.origin.facts), **dict(result.environment)}.items()
    )
    for name, found in sorted(values.items()):
        yield name.replace("_", " "), ", ".join(found)


def describe_images(seen: Seen) -> str:
    """Those that train and validate, their classes and their side."""
    side = f"{seen.image_size} x {seen.image_size} px"
    channels = f"{seen.channels} channel{'s' * (seen.channels > 1)}"
    return f"{seen.train} for training, {seen.val} for validation; {seen.classes} classes; {side}, {channels}"


def describe_curves(results: Sequence[Result]) -> str:
    """What the learning curves tell of them, where records hold no more."""
    seen = sorted({point.images // point.epoch for result in results for point in result.curve[:1] if point.images})
    return f"{' or '.join(map(str, seen))} training images per epoch" if seen else "not recorded"


def describe_epochs(recipe: Recipe, plan: Plan, seen: Seen | None) -> str:
    """How many, and the optimizer's steps in each, as far as the images are known."""
    epochs = count(recipe.epochs, "epoch")
    try:
        return f"{epochs} of {count_steps(recipe, dict(plan.trainer), seen)}" if seen else epochs
    except ValueError:  # of options that are refused by now
        return epochs


def list_failures(study: StudyFolder, plan: Plan, results: Sequence[Result]) -> Iterator[str]:
    """The trials without a record, and why, where that is known."""
    done = {result.trial.id for result in results}
    for trial in plan.trials():
        if trial.id not in done:
            yield f"{trial.description}: {study.failure(trial) or 'not trained yet'}"
