"""Weights of published networks under other people's names: torchvision, timm, the released ConvNeXt code.

A layout maps our layers to theirs. ``{stage}`` and ``{block}`` count from 0; ``{next}`` is stage + 1, ``{even}``
and ``{odd}`` are torchvision's places of a stage's downsampling and blocks.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from convnext_path.frozen import choose
from convnext_path.networks.designs import Design
from convnext_path.networks.flags import CONVNEXT, Flags
from convnext_path.networks.path import PathNet
from convnext_path.networks.swin import SwinNet
from convnext_path.networks.transformer_flags import SWIN, SWIN_V2, VIT
from convnext_path.networks.vit import ViTNet
from convnext_path.networks.weight_files import clean_names, find_weights, refuse_misfits

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

Network = PathNet | SwinNet | ViTNet
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

SWIN_LAYER = "features.{odd}.{block}."
SWIN_LAYOUT = {
    "patches": "features.0.0",
    "norm_patches": "features.0.2",
    "merging.reduction": "features.{even}.reduction",
    "merging.norm": "features.{even}.norm",
    "attention.position.index": SWIN_LAYER + "attn.relative_position_index",
    "attention.position.table": SWIN_LAYER + "attn.relative_position_bias_table",
    "attention.position.offsets": SWIN_LAYER + "attn.relative_coords_table",
    "attention.position.network.0": SWIN_LAYER + "attn.cpb_mlp.0",
    "attention.position.network.2": SWIN_LAYER + "attn.cpb_mlp.2",
    "attention.log_scale": SWIN_LAYER + "attn.logit_scale",
    "attention.qkv": SWIN_LAYER + "attn.qkv",
    "attention.proj": SWIN_LAYER + "attn.proj",
    "norm1": SWIN_LAYER + "norm1",
    "norm2": SWIN_LAYER + "norm2",
    "mlp.0": SWIN_LAYER + "mlp.0",
    "mlp.2": SWIN_LAYER + "mlp.3",
    "norm": "norm",
    "head": "head",
}

VIT_LAYER = "encoder.layers.encoder_layer_{block}."
VIT_LAYOUT = {
    "patches": "conv_proj",
    "token": "class_token",
    "places": "encoder.pos_embedding",
    "attention.qkv.weight": VIT_LAYER + "self_attention.in_proj_weight",
    "attention.qkv.bias": VIT_LAYER + "self_attention.in_proj_bias",
    "attention.proj": VIT_LAYER + "self_attention.out_proj",
    "norm1": VIT_LAYER + "ln_1",
    "norm2": VIT_LAYER + "ln_2",
    "mlp.0": VIT_LAYER + "mlp.0",
    "mlp.2": VIT_LAYER + "mlp.3",
    "norm": "encoder.ln",
    "head": "heads.head",
}

#: Of the networks that others have published, by their flags.
LAYOUTS: dict[Design, Layouts] = {
    Flags(): RESNET_LAYOUTS,
    CONVNEXT: CONVNEXT_LAYOUTS,
    SWIN: {"torchvision": SWIN_LAYOUT},
    SWIN_V2: {"torchvision": SWIN_LAYOUT},
    VIT: {"torchvision": VIT_LAYOUT},
}

#: BatchNorm's count of batches, which old checkpoints lack and no output depends on.
COUNTER = "num_batches_tracked"


def import_weights(net: Network, state_dict: Mapping[str, object]) -> str:
    """Load weights named as torchvision, timm or the released checkpoints name them; return which it was.

    They may come as checkpoints hold them, under a key as ``model`` and with names that a wrapper began.
    ``net`` changes only if all fits.

    Raises:
        ValueError: ``net`` is neither end of the road, or tensors are missing, unexpected or misshapen;
            the message lists the first of them.
    """
    own = net.state_dict()
    layouts = {layout: name_tensors(net, layout) for layout in layouts_of(net)}
    found = find_weights(state_dict)
    read = {layout: clean_names(found, names.values()) for layout, names in layouts.items()}
    layout = max(read, key=lambda layout: len(set(layouts[layout].values()) & set(read[layout])))
    ours, weights = layouts[layout], read[layout]
    misshapen = [
        f"{theirs} {tuple(weights[theirs].shape)} for {tuple(own[name].shape)}"
        for name, theirs in ours.items()
        if theirs in weights and _squeezed(weights[theirs]) != _squeezed(own[name])
    ]
    missing = sorted(name for name in set(ours.values()) - set(weights) if not name.endswith(COUNTER))
    unexpected = sorted(set(weights) - set(ours.values()))
    wrong = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    refuse_misfits(wrong, f"weights do not fit (read as {layout}'s): ")
    tensors = {name: weights.get(theirs, own[name]) for name, theirs in ours.items()}
    net.load_state_dict({name: tensor.reshape(own[name].shape) for name, tensor in tensors.items()})
    return layout


def export_weights(net: Network, layout: str) -> dict[str, Tensor]:
    """The inverse of :func:`import_weights`: a state dict that loads into the layout's own network.

    Raises:
        ValueError: ``net`` is neither end of the road, or has no such layout.
    """
    choose("layout", layout, list(layouts_of(net)))
    own = net.state_dict()
    return {theirs: _shaped(own[name], theirs) for name, theirs in name_tensors(net, layout).items()}


def layouts_of(net: Network) -> Layouts:
    """The layouts that the network has. Raises a ValueError where it is none that others have published."""
    if net.flags not in LAYOUTS:
        raise ValueError(
            "only the ends of the road, Flags() and CONVNEXT, and SWIN, SWIN_V2, VIT have published weights"
        )
    return LAYOUTS[net.flags]


def name_tensors(net: Network, layout: str) -> dict[str, str]:
    """Our name of each tensor to theirs."""
    layers = layouts_of(net)[layout]
    return {name: _translate(name, layers) for name in net.state_dict()}


def _translate(name: str, layers: Mapping[str, str]) -> str:
    place = re.match(r"(?:stages\.(\d+)\.)?(?:blocks?\.?(\d+)\.)?", name)
    assert place is not None  # it may be empty
    stage, block = (int(n or 0) for n in place.groups())
    layer = name[place.end() :]
    suffix = ""
    if layer not in layers:  # a layer's tensor
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
