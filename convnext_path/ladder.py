"""The steps as data: lists of steps, walked at several scales, the published figures beside each.

Published for ConvNeXt: Liu et al., arXiv 2201.03545v2, Table 10 (ResNet-50 to ConvNeXt-T; mean and deviation of 3
seeds) and Table 11 (ResNet-200 to ConvNeXt-B; one seed). ImageNet-1K top-1 in percent, 224 x 224; "GFLOPs"
there are 1e9 multiply-accumulates of convolutions and classifier. For Swin: Liu et al., arXiv 2103.14030, Table 4
(Swin-T, ImageNet-1K).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from convnext_path.frozen import Frozen, choose
from convnext_path.networks.designs import Design, Size
from convnext_path.networks.flags import NANO, RESNET50, RESNET200, Flags
from convnext_path.networks.peer_names import PACKAGES, PeerFlags, choose_weights, find_peer, list_models
from convnext_path.networks.transformer_flags import SWIN, SWIN_NANO, SWIN_T, VIT_NANO, VIT_S, SwinFlags, ViTFlags

RecipeName = Literal["original", "enhanced", "enhanced_b", "finetune"]


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

    @property
    def is_reference(self) -> bool:
        """Whether it stands beside the ladder, and changes nothing."""
        return self.section in (REFERENCE, MODEL)

    @property
    def is_tried(self) -> bool:
        """Whether it is a step that no other builds on."""
        return not self.adopted and not self.is_reference


REFERENCE, MODEL = "References", "Models"  # sections of what stands beside a ladder, and of a study without one
Step = tuple[str, str, str, Any]  # name, section, what changes, its new value

STEPS: tuple[Step, ...] = (
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

SWIN_STEPS: tuple[Step, ...] = (
    ("windows", "Windows", "recipe", "enhanced"),
    ("shifted_windows", "Windows", "shifted_windows", True),
    ("no_position", "Position", "position", "none"),
    ("absolute_position", "Position", "position", "absolute"),
    ("both_positions", "Position", "position", "both"),
    ("no_appearance", "Position", "appearance", False),
)

SWIN_V2_STEPS: tuple[Step, ...] = (
    ("swin", "Swin", "recipe", "enhanced"),
    ("post_norm", "Swin V2", "post_norm", True),
    ("cosine_attention", "Swin V2", "cosine_attention", True),
    ("continuous_position", "Swin V2", "continuous_position", True),
)

VIT_STEPS: tuple[Step, ...] = (
    ("patches", "ViT", "recipe", "enhanced"),
    ("sinusoidal_position", "Position", "position", "sinusoidal"),
    ("learned_position", "Position", "position", "learned"),
    ("class_token", "Head", "class_token", True),
)

#: What is measured and not kept: the next step builds on the one before.
TRIED = {
    *("kernel_size_5", "kernel_size_9", "kernel_size_11"),
    *("no_position", "absolute_position", "both_positions", "no_appearance", "sinusoidal_position"),
}

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


SWIN_TABLE_4: tuple[Published, ...] = (
    ("windows that do not shift", 80.2, None, None),
    ("shifted windows (Swin)", 81.3, None, 4.5),
    ("no position", 80.1, None, None),
    ("absolute position", 80.5, None, None),
    ("absolute and relative position", 81.3, None, None),
    ("relative position without appearance", 79.3, None, None),
)


def titles(*names: str) -> tuple[Published, ...]:
    """Rows without figures."""
    return tuple((name, None, None, None) for name in names)


SWIN_NANO_TITLES = titles(*(title for title, *_ in SWIN_TABLE_4))
SWIN_V2_TITLES = titles("Swin", "norm after each branch", "cosine attention", "continuous position (Swin V2)")
VIT_TITLES = titles("mean of patches, no position", "sinusoidal position", "learned position", "class token (ViT)")


def unpublished(start: str, end: str) -> tuple[Published, ...]:
    """Table 10's rows without its figures, for a road between networks of other names."""
    return titles(*(title.replace("ResNet-50", start).replace("ConvNeXt-T", end) for title, *_ in TABLE_10))


def make_ladder(
    scale: Size,
    published: Sequence[Published],
    enhanced: RecipeName = "enhanced",
    steps: Sequence[Step] = STEPS,
    start: Design = Flags(),  # noqa: B008 - frozen
) -> tuple[Rung, ...]:
    """Walk the steps from ``start``; ``published`` holds a row for each, ``enhanced`` is what that recipe is called."""
    rungs: list[Rung] = []
    flags, recipe = start, enhanced
    for (name, section, what, value), (title, top1, std, gmacs) in zip(steps, published, strict=True):
        here = flags if what == "recipe" else replace(flags, **{what: value})
        if what == "recipe":
            recipe = value = enhanced if value == "enhanced" else value
        adopted = name not in TRIED
        rungs.append(Rung(name, title, section, (what, value), here, scale, recipe, adopted, top1, std, gmacs))
        flags = here if adopted else flags
    return tuple(rungs)


RELATIVE = SwinFlags(position="relative")
LADDERS: dict[str, tuple[Rung, ...]] = {
    "convnext-t": make_ladder(RESNET50, TABLE_10),
    "convnext-b": make_ladder(RESNET200, TABLE_11, "enhanced_b"),
    "convnext-nano": make_ladder(NANO, unpublished("ResNet-nano", "ConvNeXt-nano")),
    "swin-t": make_ladder(SWIN_T, SWIN_TABLE_4, steps=SWIN_STEPS, start=RELATIVE),
    "swin-nano": make_ladder(SWIN_NANO, SWIN_NANO_TITLES, steps=SWIN_STEPS, start=RELATIVE),
    "swin-v2-t": make_ladder(SWIN_T, SWIN_V2_TITLES, steps=SWIN_V2_STEPS, start=SWIN),
    "swin-v2-nano": make_ladder(SWIN_NANO, SWIN_V2_TITLES, steps=SWIN_V2_STEPS, start=SWIN),
    "vit-s": make_ladder(VIT_S, VIT_TITLES, steps=VIT_STEPS, start=ViTFlags()),
    "vit-nano": make_ladder(VIT_NANO, VIT_TITLES, steps=VIT_STEPS, start=ViTFlags()),
}

#: Families by the names that --ladder takes too: their small ladder for small images, and their published one.
FAMILIES = {
    "convnext": ("convnext-nano", "convnext-t"),
    "swin": ("swin-nano", "swin-t"),
    "swin-v2": ("swin-v2-nano", "swin-v2-t"),
    "vit": ("vit-nano", "vit-s"),
}


def refer(name: str, title: str, ladder: str, rung: str, top1: float | None = None, gmacs: float | None = None) -> Rung:
    """A rung of any ladder as a network to compare with."""
    (found,) = select_rungs(LADDERS[ladder], [rung])
    beside = replace(found, name=name, title=title, section=REFERENCE, adopted=False)
    return replace(beside, paper_top1=top1, paper_std=None, paper_gmacs=gmacs)


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


#: Networks that any study may train beside its rungs. Accuracies: of Swin and ConvNeXt by Table 1 of
#: Liu et al., arXiv 2201.03545v2; of ViT-S as DeiT-S, arXiv 2012.12877; of Swin V2 by torchvision's weights, 256 px.
REFERENCES: dict[str, Rung] = {
    rung.name: rung
    for rung in (
        refer("resnet50", "ResNet-50", "convnext-t", "recipe", 78.82, 4.09),
        refer("convnext-t", "ConvNeXt-T", "convnext-t", "separate_downsampling", 82.1, 4.5),
        refer("swin-t", "Swin-T", "swin-t", "shifted_windows", 81.3, 4.5),
        refer("swin-v2-t", "Swin V2-T", "swin-v2-t", "continuous_position", 82.07, 5.94),
        refer("vit-s", "ViT-S", "vit-s", "class_token", 79.8, 4.6),
        refer("resnet-nano", "ResNet-nano", "convnext-nano", "recipe"),
        refer("convnext-nano", "ConvNeXt-nano", "convnext-nano", "separate_downsampling"),
        refer("swin-nano", "Swin-nano", "swin-nano", "shifted_windows"),
        refer("swin-v2-nano", "Swin V2-nano", "swin-v2-nano", "continuous_position"),
        refer("vit-nano", "ViT-nano", "vit-nano", "class_token"),
    )
}


def find_reference(name: str) -> Rung:
    """A network to compare with: one of :data:`REFERENCES`, or another package's as PACKAGE:NAME.

    Raises:
        ValueError: an unknown one; the message has the nearest.
    """
    if name.partition(":")[0] in PACKAGES:
        return find_model(name, REFERENCE)
    return REFERENCES[choose("reference", name, [*REFERENCES, *(f"{package}:NAME" for package in PACKAGES)])]


def find_model(name: str, section: str = MODEL, pretrained: bool = False, file: str | None = None) -> Rung:
    """A network by its name: torchvision's, else one of :data:`REFERENCES`, else timm's.

    ``pretrained``: with the weights that its package publishes; ``file``: with those in it.

    Raises:
        ValueError: an unknown one, or one without such weights.
    """
    start = pretrained or file is not None
    if name in REFERENCES and name not in list_models("torchvision"):
        if start:
            raise ValueError(
                f"{name} is a network of ours, which begins without weights; torchvision's and timm's have some"
            )
        return replace(REFERENCES[name], section=section)
    scale = find_peer(name, REFERENCES)
    flags = choose_weights(scale, file) if start else PeerFlags()
    recipe: RecipeName = "finetune" if start else "enhanced"
    known = re.sub(r"[^\w.-]", "_", Path(str(flags.weights)).name)  # which goes into names and charts
    title = f"{name}, {known if len(known) <= 24 else f'{known[:11]}…{known[-12:]}'}"
    name, title = (f"{name}/{known}", title) if start else (name, name)
    return Rung(name, title, section, ("recipe", recipe), flags, scale, recipe, adopted=False)
