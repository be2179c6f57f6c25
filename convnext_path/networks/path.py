"""The whole road from ResNet to ConvNeXt as one network.

After He et al., "Deep Residual Learning" (the bottleneck with its stride on the 3x3 convolution), and Liu et
al., "A ConvNet for the 2020s", arXiv 2201.03545v2. What each flag means, and what the paper leaves open,
stands in ``flags.py``. 1x1 convolutions serve where the released code has linear layers; the function is
the same.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from convnext_path.frozen import above, at_least, choose
from convnext_path.networks.flags import RESNET50, Flags, Scale
from convnext_path.networks.layers import (
    GELU,
    BatchNorm2d,
    DepthwiseConv2d,
    DropPath,
    LayerNorm2d,
    LayerScale,
    PatchConv2d,
    check_ends,
    drop_path_rates,
)

INITS = ("trunc_normal", "kaiming_normal")


def make_norm(flags: Flags, channels: int) -> nn.Module:
    return LayerNorm2d(channels, eps=1e-6) if flags.layer_norm else BatchNorm2d(channels)


def make_act(flags: Flags) -> nn.Module:
    return GELU() if flags.gelu else nn.ReLU(inplace=True)


def make_conv(
    flags: Flags, inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, normed: bool
) -> nn.Conv2d:
    """A convolution; odd kernels are padded to keep the side. ``normed``: a norm follows it directly."""
    bias = flags.layer_norm or not normed
    layer = DepthwiseConv2d if groups > 1 else PatchConv2d if kernel == stride else nn.Conv2d
    return layer(inputs, outputs, kernel, stride, kernel // 2 * (kernel % 2), groups=groups, bias=bias)


def make_stem(flags: Flags, inputs: int, width: int) -> nn.Sequential:
    """From (N, inputs, H, W) to (N, width, H/4, W/4)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if flags.patchify_stem:
        layers["conv"] = make_conv(flags, inputs, width, 4, 4, normed=flags.separate_downsampling)
    else:
        layers["conv"] = make_conv(flags, inputs, width, 7, 2, normed=True)
        layers["conv_norm"] = make_norm(flags, width)
        layers["act"] = make_act(flags)
        layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    if flags.separate_downsampling:
        layers["norm"] = make_norm(flags, width)
    return nn.Sequential(layers)


def make_downsampling(flags: Flags, inputs: int, outputs: int) -> nn.Sequential:
    """From (N, inputs, H, W) to (N, outputs, H/2, W/2)."""
    conv = make_conv(flags, inputs, outputs, 2, 2, normed=False)
    return nn.Sequential(OrderedDict(norm=make_norm(flags, inputs), conv=conv))


def make_branch(flags: Flags, inputs: int, width: int, outputs: int, stride: int) -> nn.Sequential:
    """A bottleneck's three convolutions with what norms and activations the flags leave them.

    ResNet: 1x1, spatial, 1x1. ConvNeXt: spatial, 1x1, 1x1. The norm that stays is the one after the spatial
    convolution, the activation that stays the one before the last.
    """
    hidden = 4 * width if flags.inverted_bottleneck else width
    order = ("spatial", "expand", "project") if flags.move_up_depthwise else ("expand", "spatial", "project")
    channels = {"expand": hidden, "spatial": inputs if order[0] == "spatial" else hidden, "project": outputs}
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, name in enumerate(order):
        spatial = name == "spatial"
        normed = spatial or not flags.fewer_norms
        layers[name] = make_conv(
            flags,
            inputs,
            channels[name],
            flags.kernel_size if spatial else 1,
            stride if spatial else 1,
            groups=inputs if spatial and flags.depthwise else 1,
            normed=normed,
        )
        inputs = channels[name]
        if normed:
            layers[f"{name}_norm"] = make_norm(flags, inputs)
        if i == 1 or (i == 0 and not flags.fewer_activations):
            layers[f"{name}_act"] = make_act(flags)
    return nn.Sequential(layers)


class Block(nn.Module):
    """act(shortcut(x) + drop_path(layer_scale(branch(x)))): (N, inputs, H, W) to (N, outputs, H/s, W/s)."""

    def __init__(
        self, flags: Flags, inputs: int, width: int, stride: int, layer_scale: float | None, drop_path: float
    ) -> None:
        super().__init__()
        outputs = out_channels(flags, width)
        self.branch = make_branch(flags, inputs, width, outputs, stride)
        self.layer_scale = nn.Identity() if layer_scale is None else LayerScale(outputs, layer_scale)
        self.drop_path = DropPath(drop_path)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = make_conv(flags, inputs, outputs, 1, stride, normed=True)
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, norm=make_norm(flags, outputs)))
        self.act = nn.Identity() if flags.fewer_activations else make_act(flags)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shortcut(x) + self.drop_path(self.layer_scale(self.branch(x)))
        x = self.act(x)
        return x


def out_channels(flags: Flags, width: int) -> int:
    """Channels that a block of a width gives: a bottleneck's outer ones, or an inverted one's."""
    return width if flags.inverted_bottleneck else 4 * width


def make_stage(
    flags: Flags, inputs: int, width: int, stride: int, layer_scale: float | None, drop_paths: list[float]
) -> nn.Sequential:
    """From (N, inputs, H, W) to (N, outputs, H/s, W/s): a block for each rate of stochastic depth.

    The stride is the first block's, or with ``separate_downsampling`` that of a convolution before it.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    outputs = out_channels(flags, width)
    if flags.separate_downsampling and stride > 1:
        layers["downsampling"] = make_downsampling(flags, inputs, outputs)
        inputs, stride = outputs, 1
    for j, drop_path in enumerate(drop_paths):
        layers[f"block{j}"] = Block(flags, inputs, width, stride, layer_scale, drop_path)
        inputs, stride = outputs, 1
    return nn.Sequential(layers)


class PathNet(nn.Module):
    """A network for any combination of flags: images (N, in_channels, H, W) to logits (N, num_classes).

    Args:
        flags: which design steps it has.
        scale: depths and widths.
        num_classes: number of classes.
        in_channels: number of channels of the images.
        layer_scale: initial value of each block's layer scale; None for no layer scale.
        drop_path: stochastic depth rate of the last block. The rate rises linearly from 0 over the blocks.
        init: ``trunc_normal`` (with biases 0, as in the released ConvNeXt code) or ``kaiming_normal`` (as in
            torchvision's ResNet).
        init_std: standard deviation of ``trunc_normal``.

    Raises:
        ValueError: an argument out of range. The image size is not checked against ``flags.min_image_size``.
    """

    def __init__(
        self,
        flags: Flags,
        scale: Scale = RESNET50,
        num_classes: int = 1000,
        in_channels: int = 3,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        init: str = "trunc_normal",
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        check_ends(in_channels, num_classes)
        above("init_std", init_std, 0)
        at_least("layer_scale", 0 if layer_scale is None else layer_scale, 0)
        self.flags, self.scale = flags, scale
        width, depths = scale.choose_width(flags), scale.choose_depths(flags)
        rates = iter(drop_path_rates(drop_path, sum(depths)))
        self.stem = make_stem(flags, in_channels, width)
        stages, channels = [], width
        for i, depth in enumerate(depths):
            drop_paths = [next(rates) for _ in range(depth)]
            stages.append(make_stage(flags, channels, width * 2**i, 1 if i == 0 else 2, layer_scale, drop_paths))
            channels = out_channels(flags, width * 2**i)
        self.stages = nn.Sequential(*stages)
        self.norm = make_norm(flags, channels) if flags.separate_downsampling else nn.Identity()
        self.head = nn.Linear(channels, num_classes)
        initialize(self, init, init_std)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # N, width, H/4, W/4
        x = self.stages(x)  # N, C, H/32, W/32
        x = F.adaptive_avg_pool2d(x, 1)  # N, C, 1, 1
        x = self.norm(x).flatten(1)  # N, C
        x = self.head(x)
        return x


def initialize(net: nn.Module, init: str, std: float) -> None:
    """Fill the weights anew; norms and layer scales keep the ones that they were made with."""
    choose("init", init, INITS)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and init == "kaiming_normal":
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Conv2d | nn.Linear) and init == "trunc_normal":
            nn.init.trunc_normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
