"""The steps as data: one list of steps, walked at several scales, the published figures beside each.

Published: Liu et al., arXiv 2201.03545v2, Table 10 (ResNet-50 to ConvNeXt-T; mean and standard deviation of 3
seeds) and Table 11 (ResNet-200 to ConvNeXt-B; one seed). ImageNet-1K top-1 in percent, 224 x 224; "GFLOPs"
there are 1e9 multiply-accumulates of convolutions and classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from convnext_path.flags import NANO, RESNET50, RESNET200, Flags, Scale
from convnext_path.frozen import Frozen, choose
from convnext_path.networks import Design, Size

RecipeName = Literal["original", "enhanced", "enhanced_b"]


@dataclass(frozen=True)
class Rung(Frozen):
    """One step: what it changes from the last adopted rung, the network it gives, what the paper measured."""

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


# name, section, what changes, its new value. "tried" marks what is measured and not kept.
STEPS: tuple[tuple[str, str, str, Any], ...] = (
    ("resnet", "ResNet", "recipe", "original"),
    ("recipe", "ResNet", "recipe", "enhanced"),
    ("stage_ratio", "Macro design", "stage_ratio", True),
    ("patchify_stem", "Macro design", "patchify_stem", True),
    ("depthwise", "ResNeXt", "depthwise", True),
    ("wider", "ResNeXt", "wider", True),
    ("inverted_bottleneck", "Inverted bottleneck", "inverted_bottleneck", True),
    ("move_up_depthwise", "Large kernel", "move_up_depthwise", True),
    ("kernel_size_5", "Large kernel", "kernel_size", 5),
    ("kernel_size_7", "Large kernel", "kernel_size", 7),
    ("kernel_size_9", "Large kernel", "kernel_size", 9),
    ("kernel_size_11", "Large kernel", "kernel_size", 11),
    ("gelu", "Micro design", "gelu", True),
    ("fewer_activations", "Micro design", "fewer_activations", True),
    ("fewer_norms", "Micro design", "fewer_norms", True),
    ("layer_norm", "Micro design", "layer_norm", True),
    ("separate_downsampling", "Micro design", "separate_downsampling", True),
)
TRIED = {"kernel_size_5", "kernel_size_9", "kernel_size_11"}

# title, top-1, its deviation over seeds, 1e9 multiply-accumulates: a row a step
Published = tuple[str, float | None, float | None, float | None]

TABLE_10: tuple[Published, ...] = (
    ("ResNet-50 (original recipe)", 76.13, None, 4.09),
    ("ResNet-50 (enhanced recipe)", 78.82, 0.07, 4.09),
    ("stage ratio", 79.36, 0.07, 4.53),
    ("patchify stem", 79.51, 0.18, 4.42),
    ("depthwise conv", 78.28, 0.08, 2.35),
    ("increase width", 80.50, 0.02, 5.27),
    ("inverting dimensions", 80.64, 0.03, 4.64),
    ("move up depthwise conv", 79.92, 0.08, 4.07),
    ("kernel size 5", 80.35, 0.08, 4.10),
    ("kernel size 7", 80.57, 0.14, 4.15),
    ("kernel size 9", 80.57, 0.06, 4.21),
    ("kernel size 11", 80.47, 0.11, 4.29),
    ("ReLU to GELU", 80.62, 0.14, 4.15),
    ("fewer activations", 81.27, 0.06, 4.15),
    ("fewer norms", 81.41, 0.09, 4.15),
    ("BN to LN", 81.47, 0.09, 4.46),
    ("separate downsampling (ConvNeXt-T)", 81.97, 0.06, 4.49),
)

TABLE_11: tuple[Published, ...] = (
    ("ResNet-200 (original recipe)", 78.20, None, 15.01),
    ("ResNet-200 (enhanced recipe)", 81.14, None, 15.01),
    ("stage ratio and increase width to 84", 81.33, None, 14.52),
    ("patchify stem", 81.59, None, 14.38),
    ("depthwise conv", 80.54, None, 7.23),
    ("increase width to 128", 81.85, None, 16.76),
    ("inverting dimensions", 82.64, None, 15.68),
    ("move up depthwise conv", 82.04, None, 14.63),
    ("kernel size 5", 82.32, None, 14.70),
    ("kernel size 7", 82.30, None, 14.81),
    ("kernel size 9", 82.27, None, 14.95),
    ("kernel size 11", 82.18, None, 15.13),
    ("ReLU to GELU", 82.19, None, 14.81),
    ("fewer activations", 82.71, None, 14.81),
    ("fewer norms", 83.17, None, 14.81),
    ("BN to LN", 83.35, None, 14.81),
    ("separate downsampling (ConvNeXt-B)", 83.60, None, 15.35),
)


def unpublished(start: str, end: str) -> tuple[Published, ...]:
    """Table 10's rows without its figures, for a road between networks of other names."""
    titles = [title.replace("ResNet-50", start).replace("ConvNeXt-T", end) for title, *_ in TABLE_10]
    return tuple((title, None, None, None) for title in titles)


def make_ladder(scale: Scale, published: Sequence[Published], enhanced: RecipeName = "enhanced") -> tuple[Rung, ...]:
    """Walk :data:`STEPS` from ``Flags()`` and the original recipe; ``published`` holds a row for each step."""
    rungs: list[Rung] = []
    flags = Flags()
    for (name, section, what, value), (title, top1, std, gmacs) in zip(STEPS, published, strict=True):
        here = flags if what == "recipe" else replace(flags, **{what: value})
        recipe: RecipeName = enhanced if rungs else "original"
        change = (what, recipe if what == "recipe" else value)
        adopted = name not in TRIED
        rungs.append(Rung(name, title, section, change, here, scale, recipe, adopted, top1, std, gmacs))
        flags = here if adopted else flags
    return tuple(rungs)


LADDERS: dict[str, tuple[Rung, ...]] = {
    "convnext-t": make_ladder(RESNET50, TABLE_10),
    "convnext-b": make_ladder(RESNET200, TABLE_11, "enhanced_b"),
    "convnext-nano": make_ladder(NANO, unpublished("ResNet-nano", "ConvNeXt-nano")),
}


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
