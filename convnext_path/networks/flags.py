"""What can be switched on the road from ResNet to ConvNeXt, and the numbers that the switches choose between.

Section numbers are those of Liu et al., "A ConvNet for the 2020s", arXiv 2201.03545v2.
"""

from dataclasses import dataclass
from typing import Literal

from convnext_path.frozen import Frozen, at_least


@dataclass(frozen=True)
class Flags(Frozen):
    """The twelve design steps, one field each. ``Flags()`` is ResNet, :data:`CONVNEXT` is ConvNeXt.

    Every combination of flags is a network. A flag means the same whatever the other flags are. Numbers in
    parentheses are sections of the paper. "Our choice" marks what this project chose where the paper
    leaves a question open.

    - ``stage_ratio`` (2.2): other numbers of blocks per stage (``scale.ratio_depths`` instead of
      ``scale.depths``), with the width that belongs to them. ResNet-200's step also widens to 84 (Table 11).
    - ``patchify_stem`` (2.2): the stem is one 4x4 convolution of stride 4. It replaces a 7x7 convolution of
      stride 2, norm, activation and max pooling. Our choice: the convolution has no norm or activation, since
      the paper adds "one [norm] after the stem" only with its last step (2.6).
    - ``depthwise`` (2.3): a block's spatial convolution filters each channel separately (one group per
      channel).
    - ``wider`` (2.3): a wider first stage, as in Swin: it has ``scale.wide_width`` channels.
    - ``inverted_bottleneck`` (2.4): the convolutions of a block of width w have 4w-4w-w channels instead of w-w-4w.
    - ``move_up_depthwise`` (2.5): the spatial convolution comes first in the block, with the block's stride
      and on its input channels. Otherwise it stands between the two 1x1 convolutions. Our choice: the same holds
      if it is not depthwise.
    - ``kernel_size`` (2.5): the kernel size of the blocks' spatial convolution: 3, 5, 7, 9 or 11.
    - ``gelu`` (2.6): GELU in place of ReLU. Our choice: everywhere, also in a ResNet stem.
    - ``fewer_activations`` (2.6): a block keeps only the activation before its last 1x1 convolution. It also
      loses the one after the addition of the shortcut. A ResNet stem keeps its activation.
    - ``fewer_norms`` (2.6): a block's branch keeps only the norm after its spatial convolution. Our choice: a
      projection shortcut keeps its norm, since the paper removes two of three.
    - ``layer_norm`` (2.6): LayerNorm over channels in place of BatchNorm, everywhere.
    - ``separate_downsampling`` (2.6): a norm and a 2x2 convolution of stride 2 between stages, instead of a
      stride in the first block. A norm also follows the stem, and another follows global pooling.

    Two rules are not flags. A convolution has a bias unless a BatchNorm follows it directly. A block has a
    1x1 projection shortcut (with stride and norm) wherever it changes the shape.

    Raises:
        ValueError: a value that is not allowed; the message lists the allowed ones.
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
        """The smallest image size, in pixels, at which the last stage has at least one pixel."""
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
    """Depths and widths that :class:`Flags` chooses from: blocks per stage, and channels of the first stage.

    Each stage has twice the channels of the one before. The defaults are those of ResNet-50 and ConvNeXt-T.

    Raises:
        ValueError: a depth below 1 or a width below 16. Smaller widths would crash: with two or more CPU
            threads, oneDNN (in torch 2.15) runs past the end of its memory when it computes the weight
            gradient of a strided 1x1 convolution with fewer than 16 channels.
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
        """Channels of the first stage (the inner channels of a bottleneck, as ResNet counts)."""
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
