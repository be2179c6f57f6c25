"""Networks of torchvision and timm, by name, where one of ours would be: to compare with, not to take apart."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

from convnext_path.networks.peer_names import PeerScale

Options = dict[str, Any]


def make_peer(scale: PeerScale, num_classes: int, in_channels: int, image_size: int, drop_path: float) -> nn.Module:
    """The network without weights; it learns of image side and stochastic depth if it takes them.

    Raises:
        ValueError: what its package says of images that do not suit it.
    """
    try:
        if scale.package == "torchvision":
            return make_torchvision(scale.model, num_classes, in_channels, image_size, drop_path)
        return make_timm(scale.model, num_classes, in_channels, image_size, drop_path)
    except (AssertionError, RuntimeError, ValueError) as error:
        told = f"{num_classes} classes and {in_channels} x {image_size} x {image_size} px: {error}"
        raise ValueError(f"{scale.title} cannot be made for {told}") from None


def make_torchvision(model: str, num_classes: int, in_channels: int, image_size: int, drop_path: float) -> nn.Module:
    if in_channels != 3:
        raise ValueError("it takes 3 channels")
    square = (image_size, image_size)
    sides: list[Options] = [{"image_size": image_size}, {"input_size": square}, {}]  # ViT's, MaxViT's, the others'
    net = try_options(partial(torchvision.models.get_model, model, num_classes=num_classes), sides)
    layers = [layer for layer in net.modules() if isinstance(layer, StochasticDepth)]
    deepest = max((layer.p for layer in layers), default=0.0)
    for layer in layers:  # whose depths it knows
        layer.p *= drop_path / deepest
    return net


def make_timm(
    model: str, num_classes: int, in_channels: int, image_size: int, drop_path: float, **more: Any
) -> nn.Module:
    import timm

    make = partial(timm.create_model, model, num_classes=num_classes, in_chans=in_channels, **more)
    sides: list[Options] = [{"img_size": image_size}, {}]
    return try_options(make, [{"drop_path_rate": drop_path, **side} for side in sides] + sides)


def try_options(make: Callable[..., nn.Module], choices: Sequence[Options]) -> nn.Module:
    """What is made with the first options that it takes."""
    for options in choices:
        try:
            return build(partial(make, **options))
        except TypeError:
            continue  # one of the options is none of its own
    raise ValueError("it takes no such options")


def build(make: Callable[[], nn.Module]) -> nn.Module:
    """A network on the default device, even one that reads values as it is made, of which a meta tensor has none."""
    try:
        return make()
    except NotImplementedError:
        device = torch.get_default_device()
        with torch.device("cpu"):
            return make().to(device)
