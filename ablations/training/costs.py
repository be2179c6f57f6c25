"""What a network costs: counted once, then read from the cache, as long as the code that it hangs on is the same."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

import torch

from ablations.study.records import dump, seal, unseal
from ablations.study.trial import Trial, hash_json
from ablations.training.provenance import code_digest
from convnext_path import Cost, Recipe, cost
from convnext_path.data.datasets import open_data
from convnext_path.files import cache_file, keep
from convnext_path.frozen import Frozen
from convnext_path.networks.designs import Design, Size
from convnext_path.networks.peer_names import PeerScale
from convnext_path.networks.registry import make_network

Counted = TypeVar("Counted", bound=Frozen)
COUNTERS = ("torch", "fvcore")  # packages that counts hang on


def trial_cost(trial: Trial) -> Cost:
    """The costs of a trial's network for one of its images."""
    splits = open_data(trial.data)
    return network_cost(trial, splits.num_classes, splits.in_channels, splits.image_size)


def network_cost(trial: Trial, num_classes: int, in_channels: int, image_size: int) -> Cost:
    """The same for images that need not be there."""
    return count(trial.flags, trial.scale, trial.recipe, num_classes, in_channels, image_size)


@cache
def count(flags: Design, scale: Size, recipe: Recipe, num_classes: int, in_channels: int, image_size: int) -> Cost:
    """The costs of a network for one image."""

    def trace() -> Cost:
        with torch.device("meta"):
            net = make_network(flags, scale, recipe, num_classes, in_channels, image_size)
        return cost(net, image_size, in_channels)

    shape = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    return remember(Cost, describe_network(flags, scale, recipe) | shape, trace)


def describe_network(flags: Design, scale: Size, recipe: Recipe) -> dict[str, Any]:
    """All that decides what its layers are, beside our code."""
    kinds = {"flags": type(flags).__name__, "scale": type(scale).__name__}
    parts = {"layer_scale": recipe.layer_scale, "drops": recipe.drop_path > 0}
    package = {"package": version(scale.package)} if isinstance(scale, PeerScale) else {}
    return {"kinds": kinds, "design": flags.to_dict(), "size": scale.to_dict(), **parts, **package}


def remember(kind: type[Counted], what: Mapping[str, Any], count: Callable[[], Counted]) -> Counted:
    """What ``count`` gives, from the cache where the same code has counted the same before."""
    versions = {name: version(name) for name in COUNTERS}
    key = hash_json({"what": what, "kind": kind.__name__, "code": code_digest(), "versions": versions})
    with suppress(OSError, RuntimeError, ValueError):  # not counted yet, no home, or damaged
        return unseal(cache_file(f"{key[:32]}.json"), kind)
    counted = count_alone(count)
    with suppress(OSError, RuntimeError):
        keep(cache_file(f"{key[:32]}.json"), dump(seal(counted)))
    return counted


def count_alone(count: Callable[[], Counted]) -> Counted:
    """Count on one thread: where cores are busy, as many as there are would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return count()
    finally:
        torch.set_num_threads(threads)
