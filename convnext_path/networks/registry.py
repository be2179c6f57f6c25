"""Every network of flags: which flags and scales belong together, and what they build.

Who studies networks knows them by this alone: a design is a frozen class of flags, a size one of numbers.
"""

from torch import nn

from convnext_path.networks.designs import Design, Size
from convnext_path.networks.flags import Flags, Scale
from convnext_path.networks.path import PathNet
from convnext_path.networks.peer_names import PeerFlags, PeerScale
from convnext_path.networks.peer_weights import load_weights
from convnext_path.networks.peers import make_peer
from convnext_path.networks.swin import SwinNet
from convnext_path.networks.transformer_flags import SwinFlags, SwinScale, ViTFlags, ViTScale
from convnext_path.networks.vit import ViTNet
from convnext_path.recipe import Recipe


def make_network(
    flags: Design, scale: Size, recipe: Recipe, num_classes: int = 1000, in_channels: int = 3, image_size: int = 224
) -> nn.Module:
    """The network of a design and a size: (N, in_channels, H, W) to logits (N, num_classes).

    Of the recipe it takes stochastic depth and the weights' deviation; the road's networks take layer scale and the
    kind of initialization too, which transformers do not have.

    Raises:
        ValueError: a size of another kind of network, or what the network refuses.
    """
    match flags, scale:
        case Flags(), Scale():
            blocks = (recipe.layer_scale, recipe.drop_path, recipe.init, recipe.init_std)
            return PathNet(flags, scale, num_classes, in_channels, *blocks)
        case SwinFlags(), SwinScale():
            return SwinNet(flags, scale, num_classes, in_channels, image_size, recipe.drop_path, recipe.init_std)
        case ViTFlags(), ViTScale():
            return ViTNet(flags, scale, num_classes, in_channels, image_size, recipe.drop_path, recipe.init_std)
        case PeerFlags(), PeerScale():
            return make_peer(scale, num_classes, in_channels, image_size, recipe.drop_path)
    raise ValueError(f"{type(scale).__name__} is not a scale for {type(flags).__name__}")


def begin(
    net: nn.Module, flags: Design, scale: Size, num_classes: int = 1000, in_channels: int = 3, image_size: int = 224
) -> None:
    """Give a network the weights that its flags ask for, if they do.

    Raises:
        ValueError: weights that cannot be had, or another network's.
    """
    if isinstance(flags, PeerFlags) and isinstance(scale, PeerScale):
        load_weights(net, flags, scale, num_classes, in_channels, image_size)
