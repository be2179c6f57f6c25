"""Networks of the road that other packages have too, as those packages make them."""

from importlib.util import find_spec
from typing import cast

from torch import nn

from convnext_path import CONVNEXT, Flags, Rung
from convnext_path.frozen import choose
from convnext_path.networks import peers
from convnext_path.networks.flags import Depths, Scale
from convnext_path.networks.peer_names import PACKAGES, Package, PeerScale

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


def check_peer(name: str) -> Package:
    """Return the name of a peer that is there. Raises a ValueError for another."""
    package = cast(Package, choose("peer", name, PACKAGES))
    if find_spec(package) is None:
        raise ValueError(f"{package} is not installed; pip install {package}, or leave it out of --against")
    return package


def make_peer(package: Package, name: str) -> nn.Module:
    """A peer's network of 1,000 classes, with random weights and no stochastic depth."""
    return peers.make_peer(PeerScale(package, name), 1000, 3, 224, 0.0)
