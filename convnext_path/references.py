"""Networks that stand beside a ladder or without one: ends of ours to compare with, and other packages' by name."""

import re
from dataclasses import replace
from pathlib import Path

from convnext_path.frozen import choose
from convnext_path.ladder import LADDERS, MODEL, REFERENCE, RecipeName, Rung, select_rungs
from convnext_path.networks.peer_names import PACKAGES, PeerFlags, choose_weights, find_peer, list_models


def refer(name: str, title: str, ladder: str, rung: str, top1: float | None = None, gmacs: float | None = None) -> Rung:
    """A rung of any ladder as a network to compare with."""
    (found,) = select_rungs(LADDERS[ladder], [rung])
    beside = replace(found, name=name, title=title, section=REFERENCE, adopted=False)
    return replace(beside, paper_top1=top1, paper_std=None, paper_gmacs=gmacs)


#: Networks that any study may train beside its rungs. Accuracies: of Swin and ConvNeXt by Table 1 of
#: Liu et al., arXiv 2201.03545v2; of ViT-S as DeiT-S, arXiv 2012.12877; of Swin V2 by torchvision's weights, 256 px.
REFERENCES: dict[str, Rung] = {
    rung.name: rung
    for rung in (
        refer("resnet50", "ResNet-50", "convnext-t", "recipe", 78.82, 4.09),
        refer("convnext-t", "ConvNeXt-T", "convnext-t", "separate_downsampling", 82.1, 4.5),
        refer("swin-t", "Swin-T", "swin-t", "shifted_windows", 81.3, 4.5),
        refer("swin-v2-t", "Swin V2-T", "swin-v2-t", "continuous_position", 82.07, 5.94),
        refer("vit-s", "ViT-S", "vit-s", "class_token", 79.8, 4.6),
        refer("resnet-nano", "ResNet-nano", "convnext-nano", "recipe"),
        refer("convnext-nano", "ConvNeXt-nano", "convnext-nano", "separate_downsampling"),
        refer("swin-nano", "Swin-nano", "swin-nano", "shifted_windows"),
        refer("swin-v2-nano", "Swin V2-nano", "swin-v2-nano", "continuous_position"),
        refer("vit-nano", "ViT-nano", "vit-nano", "class_token"),
    )
}


def find_reference(name: str) -> Rung:
    """A network to compare with: one of :data:`REFERENCES`, or another package's as PACKAGE:NAME.

    Raises:
        ValueError: an unknown one; the message has the nearest.
    """
    if name.partition(":")[0] in PACKAGES:
        return find_model(name, REFERENCE)
    return REFERENCES[choose("reference", name, [*REFERENCES, *(f"{package}:NAME" for package in PACKAGES)])]


def find_model(name: str, section: str = MODEL, pretrained: bool = False, file: str | None = None) -> Rung:
    """A network by its name: torchvision's, else one of :data:`REFERENCES`, else timm's.

    ``pretrained``: with the weights that its package publishes; ``file``: with those in it.

    Raises:
        ValueError: an unknown one, or one without such weights.
    """
    start = pretrained or file is not None
    if name in REFERENCES and name not in list_models("torchvision"):
        if start:
            raise ValueError(
                f"{name} is a network of this project without published weights; torchvision and timm have some"
            )
        return replace(REFERENCES[name], section=section)
    scale = find_peer(name, REFERENCES)
    flags = choose_weights(scale, file) if start else PeerFlags()
    recipe: RecipeName = "finetune" if start else "enhanced"
    known = re.sub(r"[^\w.-]", "_", Path(str(flags.weights)).name)  # which goes into names and charts
    title = f"{name}, {known if len(known) <= 24 else f'{known[:11]}…{known[-12:]}'}"
    name, title = (f"{name}/{known}", title) if start else (name, name)
    return Rung(name, title, section, ("recipe", recipe), flags, scale, recipe, adopted=False)
