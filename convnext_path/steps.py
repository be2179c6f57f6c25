"""The steps: what each changes, the ladders that it is on, and what was published of it there.

Published for ConvNeXt: Liu et al., arXiv 2201.03545v2, Table 10 (ResNet-50 to ConvNeXt-T; mean and deviation of 3
seeds) and Table 11 (ResNet-200 to ConvNeXt-B; one seed). ImageNet-1K top-1 in percent, 224 x 224; "GFLOPs"
there are 1e9 multiply-accumulates of convolutions and classifier. For Swin: Liu et al., arXiv 2103.14030, Table 4
(Swin-T, ImageNet-1K).

A step of your own is a :class:`Step` more, in its place in a list, with a row for each ladder that it is to be on.
"""

from dataclasses import dataclass
from functools import partial

from convnext_path.frozen import Frozen


@dataclass(frozen=True)
class Row(Frozen):
    """A step's row in the table of a ladder; where nothing is published, the ladder's name alone."""

    ladder: str
    top1: float | None = None  # percent
    std: float | None = None  # of top1, over seeds
    gmacs: float | None = None  # 1e9 multiply-accumulates
    title: str | None = None  # where it is another than the step's


@dataclass(frozen=True)
class Step(Frozen):
    """One thing that changes on the way, on one ladder or several."""

    name: str  # as --rungs takes it
    title: str  # as the paper's table prints it
    section: str  # the group in the paper's Figure 2
    change: tuple[str, object]  # a flag or "recipe", and its new value
    rows: tuple[Row, ...]  # one for each ladder that it is on
    adopted: bool = True  # whether the next steps build on it

    def find_row(self, ladder: str) -> Row | None:
        """Its row on a ladder; None where it is not on it."""
        return next((row for row in self.rows if row.ladder == ladder), None)


#: Rows of each ladder.
T, B, NANO = (partial(Row, f"convnext-{size}") for size in ("t", "b", "nano"))
SWIN_T, SWIN_NANO = partial(Row, "swin-t"), partial(Row, "swin-nano")
SWIN_V2_T, SWIN_V2_NANO = partial(Row, "swin-v2-t"), partial(Row, "swin-v2-nano")
VIT_S, VIT_NANO = partial(Row, "vit-s"), partial(Row, "vit-nano")

STEPS: tuple[Step, ...] = (
    Step(
        "resnet",
        "ResNet (original recipe)",
        "ResNet",
        ("recipe", "original"),
        (
            T(76.13, gmacs=4.09, title="ResNet-50 (original recipe)"),
            B(78.20, gmacs=15.01, title="ResNet-200 (original recipe)"),
            NANO(title="ResNet-nano (original recipe)"),
        ),
    ),
    Step(
        "recipe",
        "ResNet (enhanced recipe)",
        "ResNet",
        ("recipe", "enhanced"),
        (
            T(78.82, 0.07, 4.09, title="ResNet-50 (enhanced recipe)"),
            B(81.14, gmacs=15.01, title="ResNet-200 (enhanced recipe)"),
            NANO(title="ResNet-nano (enhanced recipe)"),
        ),
    ),
    Step(
        "stage_ratio",
        "stage ratio",
        "Macro design",
        ("stage_ratio", True),
        (T(79.36, 0.07, 4.53), B(81.33, gmacs=14.52, title="stage ratio and increase width to 84"), NANO()),
    ),
    Step(
        "patchify_stem",
        "patchify stem",
        "Macro design",
        ("patchify_stem", True),
        (T(79.51, 0.18, 4.42), B(81.59, gmacs=14.38), NANO()),
    ),
    Step(
        "depthwise",
        "depthwise conv",
        "ResNeXt",
        ("depthwise", True),
        (T(78.28, 0.08, 2.35), B(80.54, gmacs=7.23), NANO()),
    ),
    Step(
        "wider",
        "increase width",
        "ResNeXt",
        ("wider", True),
        (T(80.50, 0.02, 5.27), B(81.85, gmacs=16.76, title="increase width to 128"), NANO()),
    ),
    Step(
        "inverted_bottleneck",
        "inverting dimensions",
        "Inverted bottleneck",
        ("inverted_bottleneck", True),
        (T(80.64, 0.03, 4.64), B(82.64, gmacs=15.68), NANO()),
    ),
    Step(
        "move_up_depthwise",
        "move up depthwise conv",
        "Large kernel",
        ("move_up_depthwise", True),
        (T(79.92, 0.08, 4.07), B(82.04, gmacs=14.63), NANO()),
    ),
    Step(
        "kernel_size_5",
        "kernel size 5",
        "Large kernel",
        ("kernel_size", 5),
        (T(80.35, 0.08, 4.10), B(82.32, gmacs=14.70), NANO()),
        adopted=False,
    ),
    Step(
        "kernel_size_7",
        "kernel size 7",
        "Large kernel",
        ("kernel_size", 7),
        (T(80.57, 0.14, 4.15), B(82.30, gmacs=14.81), NANO()),
    ),
    Step(
        "kernel_size_9",
        "kernel size 9",
        "Large kernel",
        ("kernel_size", 9),
        (T(80.57, 0.06, 4.21), B(82.27, gmacs=14.95), NANO()),
        adopted=False,
    ),
    Step(
        "kernel_size_11",
        "kernel size 11",
        "Large kernel",
        ("kernel_size", 11),
        (T(80.47, 0.11, 4.29), B(82.18, gmacs=15.13), NANO()),
        adopted=False,
    ),
    Step("gelu", "ReLU to GELU", "Micro design", ("gelu", True), (T(80.62, 0.14, 4.15), B(82.19, gmacs=14.81), NANO())),
    Step(
        "fewer_activations",
        "fewer activations",
        "Micro design",
        ("fewer_activations", True),
        (T(81.27, 0.06, 4.15), B(82.71, gmacs=14.81), NANO()),
    ),
    Step(
        "fewer_norms",
        "fewer norms",
        "Micro design",
        ("fewer_norms", True),
        (T(81.41, 0.09, 4.15), B(83.17, gmacs=14.81), NANO()),
    ),
    Step(
        "layer_norm",
        "BN to LN",
        "Micro design",
        ("layer_norm", True),
        (T(81.47, 0.09, 4.46), B(83.35, gmacs=14.81), NANO()),
    ),
    Step(
        "separate_downsampling",
        "separate downsampling (ConvNeXt)",
        "Micro design",
        ("separate_downsampling", True),
        (
            T(81.97, 0.06, 4.49, title="separate downsampling (ConvNeXt-T)"),
            B(83.60, gmacs=15.35, title="separate downsampling (ConvNeXt-B)"),
            NANO(title="separate downsampling (ConvNeXt-nano)"),
        ),
    ),
)

SWIN_STEPS: tuple[Step, ...] = (
    Step("windows", "windows that do not shift", "Windows", ("recipe", "enhanced"), (SWIN_T(80.2), SWIN_NANO())),
    Step(
        "shifted_windows",
        "shifted windows (Swin)",
        "Windows",
        ("shifted_windows", True),
        (SWIN_T(81.3, gmacs=4.5), SWIN_NANO()),
    ),
    Step("no_position", "no position", "Position", ("position", "none"), (SWIN_T(80.1), SWIN_NANO()), adopted=False),
    Step(
        "absolute_position",
        "absolute position",
        "Position",
        ("position", "absolute"),
        (SWIN_T(80.5), SWIN_NANO()),
        adopted=False,
    ),
    Step(
        "both_positions",
        "absolute and relative position",
        "Position",
        ("position", "both"),
        (SWIN_T(81.3), SWIN_NANO()),
        adopted=False,
    ),
    Step(
        "no_appearance",
        "relative position without appearance",
        "Position",
        ("appearance", False),
        (SWIN_T(79.3), SWIN_NANO()),
        adopted=False,
    ),
)

SWIN_V2_STEPS: tuple[Step, ...] = (
    Step("swin", "Swin", "Swin", ("recipe", "enhanced"), (SWIN_V2_T(), SWIN_V2_NANO())),
    Step("post_norm", "norm after each branch", "Swin V2", ("post_norm", True), (SWIN_V2_T(), SWIN_V2_NANO())),
    Step("cosine_attention", "cosine attention", "Swin V2", ("cosine_attention", True), (SWIN_V2_T(), SWIN_V2_NANO())),
    Step(
        "continuous_position",
        "continuous position (Swin V2)",
        "Swin V2",
        ("continuous_position", True),
        (SWIN_V2_T(), SWIN_V2_NANO()),
    ),
)

VIT_STEPS: tuple[Step, ...] = (
    Step("patches", "mean of patches, no position", "ViT", ("recipe", "enhanced"), (VIT_S(), VIT_NANO())),
    Step(
        "sinusoidal_position",
        "sinusoidal position",
        "Position",
        ("position", "sinusoidal"),
        (VIT_S(), VIT_NANO()),
        adopted=False,
    ),
    Step("learned_position", "learned position", "Position", ("position", "learned"), (VIT_S(), VIT_NANO())),
    Step("class_token", "class token (ViT)", "Head", ("class_token", True), (VIT_S(), VIT_NANO())),
)
