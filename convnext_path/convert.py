"""Weights of the road's two ends under other people's names: torchvision, timm, the released ConvNeXt code.

A layout maps our layers to theirs. ``{stage}`` and ``{block}`` count from 0; ``{next}`` is stage + 1, ``{even}``
and ``{odd}`` are torchvision's places of a stage's downsampling and blocks.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from convnext_path.flags import CONVNEXT, Flags
from convnext_path.frozen import choose
from convnext_path.model import PathNet

RESNET_LAYOUT = {
    "stem.conv": "conv1",
    "stem.conv_norm": "bn1",
    "branch.expand": "layer{next}.{block}.conv1",
    "branch.expand_norm": "layer{next}.{block}.bn1",
    "branch.spatial": "layer{next}.{block}.conv2",
    "branch.spatial_norm": "layer{next}.{block}.bn2",
    "branch.project": "layer{next}.{block}.conv3",
    "branch.project_norm": "layer{next}.{block}.bn3",
    "shortcut.conv": "layer{next}.{block}.downsample.0",
    "shortcut.norm": "layer{next}.{block}.downsample.1",
    "head": "fc",
}

Layouts = Mapping[str, Mapping[str, str]]

RESNET_LAYOUTS: Layouts = {"torchvision": RESNET_LAYOUT, "timm": RESNET_LAYOUT}

CONVNEXT_LAYOUTS: Layouts = {
    "torchvision": {
        "stem.conv": "features.0.0",
        "stem.norm": "features.0.1",
        "downsampling.norm": "features.{even}.0",
        "downsampling.conv": "features.{even}.1",
        "branch.spatial": "features.{odd}.{block}.block.0",
        "branch.spatial_norm": "features.{odd}.{block}.block.2",
        "branch.expand": "features.{odd}.{block}.block.3",
        "branch.project": "features.{odd}.{block}.block.5",
        "layer_scale.gamma": "features.{odd}.{block}.layer_scale",
        "norm": "classifier.0",
        "head": "classifier.2",
    },
    "timm": {
        "stem.conv": "stem.0",
        "stem.norm": "stem.1",
        "downsampling.norm": "stages.{stage}.downsample.0",
        "downsampling.conv": "stages.{stage}.downsample.1",
        "branch.spatial": "stages.{stage}.blocks.{block}.conv_dw",
        "branch.spatial_norm": "stages.{stage}.blocks.{block}.norm",
        "branch.expand": "stages.{stage}.blocks.{block}.mlp.fc1",
        "branch.project": "stages.{stage}.blocks.{block}.mlp.fc2",
        "layer_scale.gamma": "stages.{stage}.blocks.{block}.gamma",
        "norm": "head.norm",
        "head": "head.fc",
    },
    "released": {
        "stem.conv": "downsample_layers.0.0",
        "stem.norm": "downsample_layers.0.1",
        "downsampling.norm": "downsample_layers.{stage}.0",
        "downsampling.conv": "downsample_layers.{stage}.1",
        "branch.spatial": "stages.{stage}.{block}.dwconv",
        "branch.spatial_norm": "stages.{stage}.{block}.norm",
        "branch.expand": "stages.{stage}.{block}.pwconv1",
        "branch.project": "stages.{stage}.{block}.pwconv2",
        "layer_scale.gamma": "stages.{stage}.{block}.gamma",
        "norm": "norm",
        "head": "head",
    },
}

#: BatchNorm's count of batches, which old checkpoints lack and no output depends on.
COUNTER = "num_batches_tracked"


def import_weights(net: PathNet, state_dict: Mapping[str, Tensor]) -> str:
    """Load weights named as torchvision, timm or the released checkpoints name them; return which it was.

    A released checkpoint may come as saved, under its ``model`` key. ``net`` changes only if all fits.

    Raises:
        ValueError: ``net`` is neither end of the road, or tensors are missing, unexpected or misshapen;
            the message lists them.
    """
    weights: Mapping[str, Tensor] = state_dict.get("model", state_dict)  # type: ignore[assignment]
    own = net.state_dict()
    names = {layout: name_tensors(net, layout) for layout in layouts_of(net)}
    layout = max(names, key=lambda layout: len(set(names[layout].values()) & set(weights)))
    ours = names[layout]
    wrong = {
        "missing": sorted(name for name in set(ours.values()) - set(weights) if not name.endswith(COUNTER)),
        "unexpected": sorted(set(weights) - set(ours.values())),
        "misshapen": [
            f"{theirs} {tuple(weights[theirs].shape)} for {tuple(own[name].shape)}"
            for name, theirs in ours.items()
            if theirs in weights and _squeezed(weights[theirs]) != _squeezed(own[name])
        ],
    }
    if any(wrong.values()):
        lists = "; ".join(f"{what}: {', '.join(which)}" for what, which in wrong.items() if which)
        raise ValueError(f"weights do not fit (read as {layout}'s): {lists}")
    found = {name: weights.get(theirs, own[name]) for name, theirs in ours.items()}
    net.load_state_dict({name: tensor.reshape(own[name].shape) for name, tensor in found.items()})
    return layout


def export_weights(net: PathNet, layout: str) -> dict[str, Tensor]:
    """The inverse of :func:`import_weights`: a state dict that loads into the layout's own network.

    Raises:
        ValueError: ``net`` is neither end of the road, or has no such layout.
    """
    choose("layout", layout, list(layouts_of(net)))
    own = net.state_dict()
    return {theirs: _shaped(own[name], theirs) for name, theirs in name_tensors(net, layout).items()}


def layouts_of(net: PathNet) -> Layouts:
    """The layouts that the network's end of the road has."""
    if net.flags == Flags():
        return RESNET_LAYOUTS
    if net.flags == CONVNEXT:
        return CONVNEXT_LAYOUTS
    raise ValueError("only the ends of the road, Flags() and CONVNEXT, have published weights")


def name_tensors(net: PathNet, layout: str) -> dict[str, str]:
    """Our name of each tensor to theirs."""
    layers = layouts_of(net)[layout]
    return {name: _translate(name, layers) for name in net.state_dict()}


def _translate(name: str, layers: Mapping[str, str]) -> str:
    place = re.match(r"stages\.(\d+)\.(?:block(\d+)\.)?", name)
    stage, block = (int(n or 0) for n in place.groups()) if place else (0, 0)
    layer = name[place.end() :] if place else name
    suffix = ""
    if layer not in layers:  # all but layer scale's: a layer's tensor
        layer, _, tensor = layer.rpartition(".")
        suffix = f".{tensor}"
    theirs = layers[layer].format(stage=stage, next=stage + 1, even=2 * stage, odd=2 * stage + 1, block=block)
    return theirs + suffix


def _squeezed(tensor: Tensor) -> list[int]:
    """The shape but for sides of 1: linear layers and 1x1 convolutions are one."""
    return [n for n in tensor.shape if n != 1]


def _shaped(tensor: Tensor, theirs: str) -> Tensor:
    if theirs.endswith("layer_scale"):  # torchvision's
        return tensor.reshape(-1, 1, 1)
    if re.search(r"(block\.[35]|mlp\.fc[12]|pwconv[12])\.weight$", theirs):  # linear layers
        return tensor.flatten(1)
    return tensor
