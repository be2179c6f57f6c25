"""What networks of flags cost, each counted once: what is published or in the cache is read, the rest counted and kept.

To count a ladder takes seconds and torch, to read it neither.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from convnext_path.costs import Cost, Kept
from convnext_path.files import digest, recall, remember
from convnext_path.frozen import Frozen
from convnext_path.ladder import LADDERS, Rung
from convnext_path.networks.designs import Design, Size
from convnext_path.networks.peer_names import PeerScale
from convnext_path.recipe import ENHANCED, RECIPES, Recipe
from convnext_path.source import strip

if TYPE_CHECKING:
    from torch import nn

#: Costs of all ladders with the code that they were counted by, where this is a checkout of the repository.
PUBLISHED = Path(__file__).parents[1] / "results" / "costs.json"

Count = TypeVar("Count", Cost, Kept)


@dataclass(frozen=True)
class Network(Frozen):
    """All of a network and its images that its costs depend on."""

    flags: Design
    scale: Size
    layer_scale: bool
    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224


def count_network(
    flags: Design, scale: Size, recipe: Recipe, num_classes: int = 1000, in_channels: int = 3, image_size: int = 224
) -> Cost:
    """The costs of a network for one image.

    Raises:
        ValueError: what the network refuses.
    """
    network = Network(flags, scale, recipe.layer_scale is not None, num_classes, in_channels, image_size)
    cost: Cost = look_up(Cost, network, trace_cost)
    return cost


def count_kept(
    flags: Design, scale: Size, recipe: Recipe, num_classes: int = 1000, in_channels: int = 3, image_size: int = 224
) -> int:
    """Elements that a training step keeps for its backward pass, of each image more.

    Raises:
        ValueError: what the network refuses.
    """
    network = Network(flags, scale, recipe.layer_scale is not None, num_classes, in_channels, image_size)
    kept: Kept = look_up(Kept, network, trace_kept)
    return kept.elements


@cache
def look_up(kind: type[Count], network: Network, count: Callable[[Network], Count]) -> Count:
    """What is known of a network; where nothing is, it is counted now."""
    for known in read_published().get(network, ()):
        if isinstance(known, kind):
            return known
    name = f"{kind.__name__.lower()}-{make_key(network)}"
    with suppress(ValueError, TypeError):  # nothing there, or something else
        return kind.from_dict(recall(name))
    found = count(network)
    remember(name, found.to_dict())
    return found


def make_key(network: Network) -> str:
    """What tells a count from all others: the network, its code, and the versions of what makes it and counts."""
    packages = ["fvcore", "torch", *([network.scale.package] if isinstance(network.scale, PeerScale) else [])]
    decisive = [network.to_dict(), networks_digest(), *map(version, packages)]
    return digest(json.dumps(decisive).encode())[:32]


@cache
def networks_digest(package: Path = Path(__file__).parent) -> str:
    """A hash of the code of networks, layers and counter; comments, docstrings and layout have no part in it."""
    files = [*sorted(package.glob("networks/*.py")), *sorted(package.glob("kernels/*.py")), package / "tracing.py"]
    return digest("\0".join(strip(file.read_text(encoding="utf-8")) for file in files).encode())[:16]


@cache
def read_published() -> dict[Network, tuple[Cost, Kept]]:
    """What is published of the ladders' networks by today's code; nothing where it is not there, or older."""
    rungs = {(name, rung.name): rung for name, ladder in LADDERS.items() for rung in ladder}
    try:
        published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
        rows = [(name, row) for name, rows in published["ladders"].items() for row in rows]
        current = published["code"] == networks_digest()
        return {find_network(rungs[name, row["rung"]]): read_row(row) for name, row in rows if current}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, or something else
        return {}


def read_row(row: Mapping[str, Any]) -> tuple[Cost, Kept]:
    """A rung's costs as they are published."""
    return Cost(row["params"], tuple(row["macs_by_operator"].items()), row["activations"]), Kept(row["kept"])


def find_network(rung: Rung) -> Network:
    """The network that is published of a rung: with layer scale where its recipe for ImageNet has one."""
    return Network(rung.flags, rung.scale, RECIPES["imagenet"][rung.recipe].layer_scale is not None)


def trace_cost(network: Network) -> Cost:
    """Count now, whatever is known."""
    from convnext_path.tracing import cost

    return cost(make_unfilled(network), network.image_size, network.in_channels)


def trace_kept(network: Network) -> Kept:
    """Count now, whatever is known."""
    from convnext_path.tracing import count_kept

    return count_kept(make_unfilled(network), network.image_size, network.in_channels)


def make_unfilled(network: Network) -> "nn.Module":
    """The network without values; stochastic depth would look at them."""
    import torch

    from convnext_path.networks.registry import make_network

    recipe = replace(ENHANCED, drop_path=0.0, layer_scale=1e-6 if network.layer_scale else None)
    with torch.device("meta"):
        ends = network.num_classes, network.in_channels, network.image_size
        return make_network(network.flags, network.scale, recipe, *ends)
