"""What can be switched on the road from ResNet to ConvNeXt, and the numbers that the switches choose between.

Section numbers are those of Liu et al., "A ConvNet for the 2020s", arXiv 2201.03545v2.
"""

from dataclasses import dataclass
from typing import Literal

from convnext_path.frozen import Frozen, at_least


@dataclass(frozen=True)
class Flags(Frozen):
    """The twelve steps, one field each. ``Flags()`` is ResNet, :data:`CONVNEXT` is ConvNeXt.

    Every combination is a network. Each flag means the same whatever the others say; where the paper
    leaves that meaning open, what we chose is marked "ours".

    - ``stage_ratio`` (2.2): blocks a stage from ``scale.ratio_depths`` instead of ``scale.depths``, and
      the width that goes with them (ResNet-200's step widens to 84 at the same time; Table 11).
    - ``patchify_stem`` (2.2): the stem is one 4x4 convolution of stride 4, instead of a 7x7 convolution
      of stride 2, norm, activation and max pooling. Ours: the convolution alone, without norm or
      activation, since the paper adds "one [norm] after the stem" only with its last step (2.6).
    - ``depthwise`` (2.3): a block's spatial convolution has one group a channel.
    - ``wider`` (2.3): the first stage has ``scale.wide_width`` channels, as Swin has.
    - ``inverted_bottleneck`` (2.4): a block of width w has w-4w-w channels instead of w-w-4w.
    - ``move_up_depthwise`` (2.5): the spatial convolution, with the block's stride, comes first, on the
      block's input channels, instead of between the two 1x1 convolutions. Ours: so too when it is not
      depthwise.
    - ``kernel_size`` (2.5): the side of the blocks' spatial convolution: 3, 5, 7, 9 or 11.
    - ``gelu`` (2.6): GELU in place of ReLU. Ours: everywhere, a ResNet stem included.
    - ``fewer_activations`` (2.6): a block keeps the activation before its last 1x1 convolution and no
      other; the one after the addition goes too. A ResNet stem keeps its own.
    - ``fewer_norms`` (2.6): a block's branch keeps the norm after its spatial convolution and no other.
      Ours: a projection shortcut keeps its own, since the paper removes two of three.
    - ``layer_norm`` (2.6): LayerNorm over channels in place of BatchNorm, everywhere.
    - ``separate_downsampling`` (2.6): between stages a norm and a 2x2 convolution of stride 2, instead of
      a stride in the first block; a norm after the stem, whichever it is, and one after global pooling.

    Not a flag but a rule: a convolution has a bias unless a BatchNorm follows it directly. And a block
    has a 1x1 projection shortcut (stride and norm included) wherever it changes the shape.

    Raises:
        ValueError: a value that is not allowed; the message names those that are.
    """

    stage_ratio: bool = False
    patchify_stem: bool = False
    depthwise: bool = False
    wider: bool = False
    inverted_bottleneck: bool = False
    move_up_depthwise: bool = False
    kernel_size: Literal[3, 5, 7, 9, 11] = 3
    gelu: bool = False
    fewer_activations: bool = False
    fewer_norms: bool = False
    layer_norm: bool = False
    separate_downsampling: bool = False

    @property
    def min_image_size(self) -> int:
        """The smallest image side, in pixels, that leaves the last stage at least one pixel."""
        side = 8 if self.separate_downsampling else 1  # after the stem; each of three 2x2 steps rounds down
        return 4 * side if self.patchify_stem else 4 * side - 3  # a ResNet stem rounds up, twice


CONVNEXT = Flags(
    stage_ratio=True,
    patchify_stem=True,
    depthwise=True,
    wider=True,
    inverted_bottleneck=True,
    move_up_depthwise=True,
    kernel_size=7,
    gelu=True,
    fewer_activations=True,
    fewer_norms=True,
    layer_norm=True,
    separate_downsampling=True,
)

Depths = tuple[int, int, int, int]


@dataclass(frozen=True)
class Scale(Frozen):
    """The numbers that :class:`Flags` chooses between: blocks a stage, and channels of the first stage.

    A stage has twice the channels of the one before. The defaults are ResNet-50's and ConvNeXt-T's.

    Raises:
        ValueError: a depth below 1 or a width below 16. Of a strided 1x1 convolution with fewer than 16
            channels, on two or more CPU threads, oneDNN (in torch 2.15) computes the weight gradient past
            the end of its memory, and the process dies sooner or later.
    """

    depths: Depths = (3, 4, 6, 3)  # ResNet's
    ratio_depths: Depths = (3, 3, 9, 3)  # with stage_ratio
    width: int = 64  # ResNet's
    ratio_width: int = 64  # with stage_ratio
    wide_width: int = 96  # with wider

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("a stage's depth", min(self.depths + self.ratio_depths), 1)
        at_least("a width", min(self.width, self.ratio_width, self.wide_width), 16)

    def choose_depths(self, flags: Flags) -> Depths:
        """Blocks in each of the four stages."""
        return self.ratio_depths if flags.stage_ratio else self.depths

    def choose_width(self, flags: Flags) -> int:
        """Channels of the first stage (a bottleneck's inner channels, as ResNet counts)."""
        if flags.wider:
            return self.wide_width
        return self.ratio_width if flags.stage_ratio else self.width


RESNET50 = Scale()
RESNET200 = Scale((3, 24, 36, 3), (3, 3, 27, 3), width=64, ratio_width=84, wide_width=128)
NANO = Scale(width=16, ratio_width=16, wide_width=24)

#: The published ConvNeXt designs by name. Table 10 walks to T and Table 11 to B; for the others only the
#: end is published, and their starts are ours, in proportion.
SCALES = {
    "T": RESNET50,
    "S": Scale((3, 4, 23, 3), (3, 3, 27, 3)),
    "B": RESNET200,
    "L": Scale((3, 24, 36, 3), (3, 3, 27, 3), width=96, ratio_width=126, wide_width=192),
    "XL": Scale((3, 24, 36, 3), (3, 3, 27, 3), width=128, ratio_width=168, wide_width=256),
    "nano": NANO,
}
