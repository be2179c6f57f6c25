"""Networks of the road that other packages have too, as those packages make them."""

from importlib.util import find_spec

import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

from convnext_path import CONVNEXT, Flags, Rung
from convnext_path.flags import Depths, Scale
from convnext_path.frozen import choose

PEERS = ("torchvision", "timm")

#: Names in torchvision and timm, by flags, blocks a stage, width of the first, and whether there is layer scale.
TWINS: dict[tuple[Flags, Depths, int, bool], str] = {
    (Flags(), (3, 4, 6, 3), 64, False): "resnet50",
    (CONVNEXT, (3, 3, 9, 3), 96, True): "convnext_tiny",
    (CONVNEXT, (3, 3, 27, 3), 96, True): "convnext_small",
    (CONVNEXT, (3, 3, 27, 3), 128, True): "convnext_base",
}


def find_twin(rung: Rung) -> str | None:
    """What the peers call the network of a rung; None where they have no such one."""
    flags, scale = rung.flags, rung.scale
    if not (isinstance(flags, Flags) and isinstance(scale, Scale)):
        return None
    return TWINS.get((flags, scale.choose_depths(flags), scale.choose_width(flags), rung.recipe != "original"))


def check_peer(name: str) -> str:
    """Return the name of a peer that is there. Raises a ValueError for another."""
    if find_spec(choose("peer", name, PEERS)) is None:
        raise ValueError(f"{name} is not installed; pip install {name}, or leave it out of --against")
    return name


def make_peer(package: str, name: str) -> nn.Module:
    """A peer's network of 1,000 classes, with random weights and no stochastic depth."""
    if package == "timm":
        import timm

        return timm.create_model(name)
    net: nn.Module = torchvision.models.get_model(name)
    for layer in net.modules():
        if isinstance(layer, StochasticDepth):
            layer.p = 0.0
    return net
