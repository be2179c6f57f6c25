"""What a study of the whole ladder found, in five sentences for the front page."""

from collections.abc import Sequence

from ablations.analysis.stats import Step
from ablations.analysis.tables import show_estimate
from convnext_path.words import join


def tell_findings(steps: Sequence[Step]) -> str:
    """A Markdown list: the recipe, gains, losses, what stays open, and what is left once chance had as many tries."""
    recipe, *design = [step for step in steps if step.base]
    gains, losses, others = ([s for s in design if s.verdict == v] for v in ("gain", "loss", "cannot tell"))
    sentences = (
        "**The training recipe:** the enhanced recipe changes the accuracy of the same ResNet by "
        f"{show_change(recipe)} points.",
        f"**Steps that help:** {list_changes(gains)}.",
        f"**Steps that hurt:** {list_changes(losses)}. From the enhanced recipe to the last step, accuracy goes from "
        f"{show_estimate(recipe.top1)} % to {show_estimate(steps[-1].top1)} %.",
        f"**Undecided steps:** the changes of the other {len(others)} design steps could be chance.",
        f"**How sure this is:** each verdict judges one step by itself. {weigh_all([recipe, *design])}",
    )
    return "".join(f"- {sentence}\n" for sentence in sentences)


def list_changes(steps: Sequence[Step]) -> str:
    """Steps with their changes: "increase width (+2.37 ±1.1) and ..."."""
    return join([f"{step.title} ({show_change(step)})" for step in steps], "and") if steps else "none"


def weigh_all(steps: Sequence[Step]) -> str:
    """Which changes are told from chance when all of them are looked at together."""
    told = [step.title for step in steps if step.p < 0.05]
    left = f"only for {join(told, 'and')}" if told else "for none of them"
    luck = f"With {len(steps)} changes, some verdicts may be luck"
    return f"{luck}. After Holm's correction for that, p is below 0.05 {left}."


def show_change(step: Step) -> str:
    return show_estimate(step.change, "{:+.2f}")
