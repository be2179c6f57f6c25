"""Weights of torchvision's and timm's networks: published ones and files, for a network of any classes and sides."""

import io
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from convnext_path.files import digest
from convnext_path.networks.peer_names import PeerFlags, PeerScale, read_file
from convnext_path.networks.peers import build, make_timm
from convnext_path.words import shorten


def load_weights(
    net: nn.Module, flags: PeerFlags, scale: PeerScale, num_classes: int, in_channels: int, image_size: int
) -> None:
    """Give a network the weights that it begins with, all but the classifier's if the classes differ in number.

    Positions are interpolated where the images' side is another; published weights are fetched unless they have been
    before; nothing in a file is run.

    Raises:
        ValueError: weights that cannot be had, that have changed since they were chosen, or of another network.
    """
    if flags.weights is None:
        return
    try:
        if scale.package == "torchvision":
            source = begin_torchvision(net, flags, scale.model)
        else:
            source = begin_timm(flags, scale.model, num_classes, in_channels, image_size)
    except Exception as error:  # noqa: BLE001 - of as many kinds as there are servers, files and networks
        told = " ".join(str(error).split())
        raise ValueError(f"{scale.title} cannot begin with {flags.weights}: {told[:400]}") from None
    own = net.state_dict()
    own.update({name: w for name, w in source.items() if w.shape == own[name].shape})
    net.load_state_dict(own)


def begin_torchvision(net: nn.Module, flags: PeerFlags, model: str) -> Mapping[str, Tensor]:
    """Weights by way of the network that they are of, which knows the names that older files have."""
    if flags.digest is None:
        whole = torchvision.models.get_model(model, weights=flags.weights, progress=False)
    else:
        weights = read_weights(str(flags.weights), flags.digest)
        shapes = [shape_tensors(partial(torchvision.models.get_model, model, num_classes=n)) for n in (2, 3)]
        head = next(name for name, shape in shapes[0].items() if shapes[1][name] != shape)
        whole = torchvision.models.get_model(model, num_classes=len(weights[head]) if head in weights else 1000)
        whole.load_state_dict(fit_places(whole, weights))
    return fit_places(net, whole.state_dict())


def fit_places(net: nn.Module, weights: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
    """The weights, with a ViT's positions interpolated to its images' side."""
    if not (isinstance(net, VisionTransformer) and "encoder.pos_embedding" in weights):
        return weights
    fitted: OrderedDict[str, Tensor] = interpolate_embeddings(net.image_size, net.patch_size, weights)
    return fitted


def begin_timm(
    flags: PeerFlags, model: str, num_classes: int, in_channels: int, image_size: int
) -> Mapping[str, Tensor]:
    """Weights as timm fits them to a network's classes, channels and image side."""
    options: dict[str, Any] = {}
    if flags.digest is None:
        model = f"{model}.{flags.weights}".removesuffix(".default")
    else:
        weights = read_weights(str(flags.weights), flags.digest)
        classes = check_timm(model, weights, in_channels, image_size)
        options["pretrained_cfg_overlay"] = {"state_dict": weights, "num_classes": classes, "custom_load": False}
    return make_timm(model, num_classes, in_channels, image_size, 0.0, pretrained=True, **options).state_dict()


def check_timm(model: str, weights: Mapping[str, Tensor], in_channels: int, image_size: int) -> int:
    """Refuse weights of another network, which timm may pass over; return how many classes they tell apart.

    A classifier may be missing; what depends on classes, channels or image side may be of another shape.
    """
    import timm

    two, three = (shape_tensors(partial(timm.create_model, model, num_classes=n)) for n in (2, 3))
    ours = shape_tensors(partial(make_timm, model, 2, in_channels, image_size, 0.0))
    head = [name for name, shape in two.items() if three[name] != shape]
    fixed = {name: shape for name, shape in two.items() if three[name] == shape == ours.get(name)}
    needed = {name for name in two.keys() - {*head} if not name.endswith("num_batches_tracked")}
    wrong = {
        "missing": sorted(needed - weights.keys()),
        "unexpected": sorted(weights.keys() - two.keys()),
        "misshapen": sorted(n for n, shape in fixed.items() if n in weights and tuple(weights[n].shape) != shape),
    }
    if any(wrong.values()):
        raise ValueError("; ".join(f"{what}: {shorten(names, 3)}" for what, names in wrong.items() if names))
    return len(weights[head[0]]) if head[0] in weights else 0


def shape_tensors(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's tensors, without the tensors."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build(make).state_dict().items()}


def read_weights(file: str, expected: str) -> "OrderedDict[str, Tensor]":
    """Tensors by name, as saved alone or as a checkpoint's ``model`` or ``state_dict``."""
    content = read_file(file)
    if digest(content) != expected:
        raise ValueError("it has changed since it was chosen")
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch raises whatever a damaged file leads to
        raise ValueError(f"it holds no weights that torch can load ({type(error).__name__})") from None
    for name in ("model", "state_dict"):
        found = found.get(name, found) if isinstance(found, Mapping) else found
    if not (isinstance(found, Mapping) and all(isinstance(tensor, Tensor) for tensor in found.values())):
        raise ValueError("it holds no weights: no tensors by name")
    return found if isinstance(found, OrderedDict) else OrderedDict(found)
