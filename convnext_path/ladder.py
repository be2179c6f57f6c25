"""Ladders: lists of steps, walked at several sizes, each step a rung that can be trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from convnext_path.frozen import Frozen, choose
from convnext_path.networks.designs import Design, Size
from convnext_path.networks.flags import NANO, RESNET50, RESNET200, Flags
from convnext_path.networks.transformer_flags import SWIN, SWIN_NANO, SWIN_T, VIT_NANO, VIT_S, SwinFlags, ViTFlags
from convnext_path.steps import STEPS, SWIN_STEPS, SWIN_V2_STEPS, VIT_STEPS, Row, Step

RecipeName = Literal["original", "enhanced", "enhanced_b", "finetune"]


@dataclass(frozen=True)
class Rung(Frozen):
    """One network of a ladder: its step from the last adopted rung, its flags and scale, and the paper's numbers."""

    name: str  # as --rungs takes it
    title: str  # as the paper's table prints it
    section: str  # the group in the paper's Figure 2
    change: tuple[str, object]  # a flag or "recipe", and its new value
    flags: Design
    scale: Size
    recipe: RecipeName
    adopted: bool = True  # whether the next rungs build on it
    paper_top1: float | None = None  # percent
    paper_std: float | None = None
    paper_gmacs: float | None = None
    base: str | None = None  # the rung that a flip changes; None: the last adopted one before it

    @property
    def is_reference(self) -> bool:
        """Whether the network stands beside the ladder for comparison."""
        return self.section in (REFERENCE, MODEL)

    @property
    def is_tried(self) -> bool:
        """Whether the step was tried and not adopted, so that no other step builds on it."""
        return not self.adopted and not self.is_reference


REFERENCE, MODEL = "References", "Models"  # sections of what stands beside a ladder, and of a study without one


@dataclass(frozen=True)
class Road:
    """What a ladder walks: those of the steps that are on it, from a design on, at one size."""

    steps: Sequence[Step]
    scale: Size
    start: Design
    enhanced: RecipeName = "enhanced"  # what the recipe of that name is called here


RELATIVE = SwinFlags(position="relative")
ROADS = {
    "convnext-t": Road(STEPS, RESNET50, Flags()),
    "convnext-b": Road(STEPS, RESNET200, Flags(), enhanced="enhanced_b"),
    "convnext-nano": Road(STEPS, NANO, Flags()),
    "swin-t": Road(SWIN_STEPS, SWIN_T, RELATIVE),
    "swin-nano": Road(SWIN_STEPS, SWIN_NANO, RELATIVE),
    "swin-v2-t": Road(SWIN_V2_STEPS, SWIN_T, SWIN),
    "swin-v2-nano": Road(SWIN_V2_STEPS, SWIN_NANO, SWIN),
    "vit-s": Road(VIT_STEPS, VIT_S, ViTFlags()),
    "vit-nano": Road(VIT_STEPS, VIT_NANO, ViTFlags()),
}


def make_ladders(roads: Mapping[str, Road]) -> dict[str, tuple[Rung, ...]]:
    """The rungs of each road, by its name.

    Raises:
        ValueError: a step has a row on a ladder that does not walk its list.
    """
    for road in roads.values():
        walked = [name for name, other in roads.items() if other.steps is road.steps]
        for step in road.steps:
            for row in step.rows:
                choose(f"ladder of step {step.name}", row.ladder, walked)
    return {name: walk(name, road) for name, road in roads.items()}


def walk(name: str, road: Road) -> tuple[Rung, ...]:
    """A rung for each step that is on the ladder ``name``, from the last adopted one."""
    rungs: list[Rung] = []
    flags, recipe = road.start, road.enhanced
    for step in road.steps:
        if row := step.find_row(name):
            rung = take_step(step, row, road, flags, recipe)
            rungs.append(rung)
            flags, recipe = (rung.flags, rung.recipe) if step.adopted else (flags, recipe)
    return tuple(rungs)


def take_step(step: Step, row: Row, road: Road, flags: Design, recipe: RecipeName) -> Rung:
    """The rung that a step makes of a design and a recipe."""
    what: str
    value: Any
    what, value = step.change
    choose(f"change of step {step.name}", what, ["recipe", *(f.name for f in fields(flags))])
    if what == "recipe":
        recipe = value = road.enhanced if value == "enhanced" else value
    else:
        flags = replace(flags, **{what: value})
    return Rung(
        name=step.name,
        title=row.title or step.title,
        section=step.section,
        change=(what, value),
        flags=flags,
        scale=road.scale,
        recipe=recipe,
        adopted=step.adopted,
        paper_top1=row.top1,
        paper_std=row.std,
        paper_gmacs=row.gmacs,
    )


LADDERS = make_ladders(ROADS)

#: Families by the names that --ladder takes too: their small ladder for small images, and their published one.
FAMILIES = {
    "convnext": ("convnext-nano", "convnext-t"),
    "swin": ("swin-nano", "swin-t"),
    "swin-v2": ("swin-v2-nano", "swin-v2-t"),
    "vit": ("vit-nano", "vit-s"),
}


def choose_ladder(name: str, small: bool) -> str:
    """A ladder's name, for itself or for its family; ``small``: whether the images are.

    Raises:
        ValueError: neither a ladder nor a family.
    """
    choose("ladder", name, [*LADDERS, *FAMILIES])
    return FAMILIES[name][not small] if name in FAMILIES else name


def select_rungs(ladder: Sequence[Rung], names: Sequence[str]) -> tuple[Rung, ...]:
    """The named rungs in the ladder's order.

    Raises:
        ValueError: a name that no rung has.
    """
    allowed = [rung.name for rung in ladder]
    for name in names:
        choose("rung", name, allowed)
    return tuple(rung for rung in ladder if rung.name in names)


def flip(rung: Rung, flag: str, value: Any) -> Rung:
    """A rung tried beside ``rung``: the same, but for one flag of its own.

    Raises:
        ValueError: an unknown flag, a value that it does not take, or the value that it has already.
    """
    choose("flag", flag, [f.name for f in fields(rung.flags)])
    if getattr(rung.flags, flag) == value:
        raise ValueError(f"{flag} is {value} in rung {rung.name} already")
    title = f"{flag.replace('_', ' ')} {value if not isinstance(value, bool) else 'on' if value else 'off'}"
    return replace(
        rung,
        name=f"{rung.name}/{flag}={str(value).lower()}",
        title=f"{title} at {rung.name}",
        section="Your step",
        change=(flag, value),
        flags=replace(rung.flags, **{flag: value}),
        adopted=False,
        paper_top1=None,
        paper_std=None,
        paper_gmacs=None,
        base=rung.name,
    )
