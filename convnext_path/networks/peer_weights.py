"""Weights of torchvision's and timm's networks: published ones and files, for a network of any classes and sides."""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from convnext_path.files import digest
from convnext_path.networks.peer_names import PeerFlags, PeerScale, read_file
from convnext_path.networks.peers import build, make_timm
from convnext_path.networks.weight_files import clean_names, list_misfits, read_weights, refuse_misfits, refuse_odd
from convnext_path.networks.weight_sets import EXTRAS


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
        return fit_places(net, whole.state_dict())
    two, three = (shape_tensors(partial(torchvision.models.get_model, model, num_classes=n)) for n in (2, 3))
    weights = clean_names(name_anew(model, read_file_weights(flags)), two.keys())
    head = [name for name, shape in two.items() if three[name] != shape]
    whole = torchvision.models.get_model(model, num_classes=len(weights[head[0]]) if head[0] in weights else 1000)
    missing = load_tensors(whole, fit_places(whole, weights), {*head})
    return fit_places(net, OrderedDict((n, w) for n, w in whole.state_dict().items() if n not in missing))


def load_tensors(net: nn.Module, weights: "OrderedDict[str, Tensor]", spare: Collection[str]) -> set[str]:
    """Load weights by torch's rules for older names; return which of ``spare`` are missing, which may be.

    Raises:
        ValueError: others are missing, unexpected or misshapen; the message lists the first.
    """
    versions: dict[str, object] = getattr(weights, "_metadata", {})
    versions.setdefault("", net.state_dict()._metadata[""])  # type: ignore[attr-defined]
    weights._metadata = versions  # type: ignore[attr-defined]
    try:
        found = net.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        shape = r"size mismatch for (\S+): .*?(?:Size\()?(\[.*?\]).*?(?:Size\()?(\[.*?\])"
        misshapen = [f"{name} {theirs} for {ours}" for name, theirs, ours in re.findall(shape, str(error))]
        raise ValueError(list_misfits({"misshapen": misshapen}) or str(error)) from None
    missing = {name for name in found.missing_keys if not name.endswith(EXTRAS)}
    refuse_misfits({"missing": sorted(missing - {*spare}), "unexpected": sorted(found.unexpected_keys)})
    return missing


def name_anew(model: str, weights: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
    """DenseNet's weights under today's names, which torchvision gives to those alone that it fetches."""
    if not model.startswith("densenet"):
        return weights
    named = OrderedDict(
        (re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", n), w) for n, w in weights.items()
    )
    named._metadata = getattr(weights, "_metadata", {})  # type: ignore[attr-defined]
    return named


def fit_places(net: nn.Module, weights: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
    """The weights, with a ViT's positions interpolated to its images' side."""
    if not (isinstance(net, VisionTransformer) and "encoder.pos_embedding" in weights):
        return weights
    fitted: OrderedDict[str, Tensor] = interpolate_embeddings(net.image_size, net.patch_size, weights)
    return fitted


def begin_timm(
    flags: PeerFlags, model: str, num_classes: int, in_channels: int, image_size: int
) -> Mapping[str, Tensor]:
    """Weights as timm fits them to a network's classes, channels and image side, from any names that it knows."""
    make = partial(make_timm, num_classes=num_classes, in_channels=in_channels, image_size=image_size, drop_path=0.0)
    if flags.digest is None:
        return make(f"{model}.{flags.weights}".removesuffix(".default"), pretrained=True).state_dict()
    two, three = (shape_tensors(partial(timm_model, model, num_classes=n)) for n in (2, 3))
    ours = shape_tensors(partial(make_timm, model, 2, in_channels, image_size, 0.0))
    head = {name: shape for name, shape in two.items() if three[name] != shape}
    fixed = {name: shape for name, shape in two.items() if name not in head and shape == ours.get(name)}
    weights = clean_names(read_file_weights(flags), two.keys())
    classes = check_timm(convert_timm(model, weights), two, head, fixed)
    source = {"state_dict": weights, "num_classes": classes, "custom_load": False}
    begun = make(model, pretrained=True, pretrained_cfg_overlay=source).state_dict()
    return {name: tensor for name, tensor in begun.items() if classes or name not in head}


def timm_model(model: str, **options: Any) -> nn.Module:
    import timm

    made: nn.Module = timm.create_model(model, **options)
    return made


def convert_timm(model: str, weights: "OrderedDict[str, Tensor]") -> Mapping[str, Tensor]:
    """Weights under timm's own names, by the conversion that it has for the network; as they are where that fails.

    timm converts while it loads, and gives no other way to that.
    """
    from timm.models import _builder

    asked: list[tuple[nn.Module, Callable[..., Mapping[str, Tensor]] | None]] = []

    def note(net: nn.Module, *_: object, filter_fn: Callable[..., Mapping[str, Tensor]] | None, **__: object) -> None:
        asked.append((net, filter_fn))

    with patch.object(_builder, "load_pretrained", note), torch.device("meta"):
        build(partial(timm_model, model, pretrained=True, pretrained_cfg_overlay={"state_dict": {"any": 0}}))
    net, convert = asked[0] if asked else (nn.Identity(), None)
    try:
        return convert(dict(weights), net) if convert else weights
    except (KeyError, AttributeError, RuntimeError, TypeError, ValueError):  # another network's
        return weights


Shapes = Mapping[str, tuple[int, ...]]


def check_timm(weights: Mapping[str, Tensor], shapes: Shapes, head: Collection[str], fixed: Shapes) -> int:
    """Refuse weights of another network, which timm may pass over; return how many classes they tell apart.

    ``shapes`` has all names. A classifier ``head`` may be missing; only what is ``fixed`` must be of its shape.
    """
    needed = {name for name in shapes.keys() - {*head} if not name.endswith(EXTRAS)}
    misshapen = [
        f"{name} {[*weights[name].shape]} for {[*shape]}"
        for name, shape in fixed.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    unexpected = sorted(weights.keys() - shapes.keys())
    refuse_odd(weights, shapes)
    refuse_misfits({"missing": sorted(needed - weights.keys()), "unexpected": unexpected, "misshapen": misshapen})
    return next((len(weights[name]) for name in head if name in weights), 0)


def shape_tensors(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's tensors, without the tensors."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build(make).state_dict().items()}


def read_file_weights(flags: PeerFlags) -> "OrderedDict[str, Tensor]":
    """The tensors in a file that flags name. Raises a ValueError where it has changed since, or there are none."""
    content = read_file(str(flags.weights))
    if digest(content) != flags.digest:
        raise ValueError("it has changed since it was chosen")
    return read_weights(content)
