from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from convnext_path import CONVNEXT, RESNET50, SCALES, Flags, PathNet
from convnext_path.networks.convert import export_weights, import_weights, layouts_of
from convnext_path.networks.swin import SwinNet
from convnext_path.networks.transformer_flags import SWIN, SWIN_V2, VIT, VIT_B, SwinScale
from convnext_path.networks.vit import ViTNet

SIDES = [(224, 224), (256, 256), (200, 170), (64, 64), (33, 250)]
NAMES = {"T": "tiny", "S": "small", "B": "base", "L": "large", "XL": "xlarge"}


#: Torchvision's transformers, which are ours in a size.
TRANSFORMERS = {
    "swin_t": (SwinNet, SWIN, SwinScale(window=7, patch=4), 28_288_354),
    "swin_v2_t": (SwinNet, SWIN_V2, SwinScale(window=8, patch=4), 28_351_570),
    "vit_b_16": (ViTNet, VIT, VIT_B, 86_567_656),
}


def make_peer(layout: str, end: str) -> nn.Module:
    name = "resnet50" if end == "R50" else end if end in TRANSFORMERS else f"convnext_{NAMES[end]}"
    return getattr(torchvision.models, name)() if layout == "torchvision" else timm.create_model(name)


def make_ours(end: str) -> Any:
    if end in TRANSFORMERS:
        kind, flags, scale, _ = TRANSFORMERS[end]
        return kind(flags, scale)
    return PathNet(Flags(), RESNET50) if end == "R50" else PathNet(CONVNEXT, SCALES[end], layer_scale=1.0)


def randomize(net: nn.Module) -> nn.Module:
    """Every tensor its own random values, running statistics too, so that none can stand for another."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            spread = 0.02 if tensor.squeeze().ndim > 1 else 0.2
            tensor.copy_(0.5 + noise if "var" in name else spread * (noise * 2 - 1) + (tensor.squeeze().ndim < 2) * 0.5)
    return net.eval()


@pytest.mark.parametrize(
    ("layout", "end"),
    [("torchvision", "R50"), ("timm", "R50"), ("torchvision", "T"), ("timm", "T"), ("torchvision", "S"), ("timm", "B")],
)
@torch.no_grad()
def test_the_ends_give_their_peers_logits(layout: str, end: str) -> None:
    theirs, ours = randomize(make_peer(layout, end)), make_ours(end).eval()
    found = import_weights(ours, theirs.state_dict())
    assert found == layout or end == "R50"
    images = torch.randn(2, 3, 96, 80)
    expected, got = theirs(images), ours(images)
    assert ((got - expected).abs().max() / expected.abs().max()).item() <= 1e-5


@pytest.mark.parametrize(("end", "sides"), [("swin_t", SIDES), ("swin_v2_t", SIDES), ("vit_b_16", [(224, 224)])])
@torch.no_grad()
def test_transformers_give_torchvisions_logits(end: str, sides: list[tuple[int, int]]) -> None:
    theirs, ours = make_peer("torchvision", end), make_ours(end).eval()
    exported = export_weights(ours, "torchvision")
    for name, constant in theirs.named_buffers():  # indices and offsets, before they are carried over
        assert torch.allclose(exported[name], constant), name
    randomize(theirs)
    assert import_weights(ours, theirs.state_dict()) == "torchvision"
    assert sum(p.numel() for p in ours.parameters()) == TRANSFORMERS[end][-1]
    for side in sides:
        images = torch.randn(2, 3, *side)
        expected, got = theirs(images), ours(images)
        assert ((got - expected).abs().max() / expected.abs().max()).item() <= 1e-4


@pytest.mark.parametrize(
    ("layout", "end"),
    [*product(["torchvision", "timm"], ["R50", "T"]), *(("torchvision", name) for name in TRANSFORMERS)],
)
def test_round_trip_through_a_peer(layout: str, end: str) -> None:
    ours = randomize(make_ours(end))
    peer = make_peer(layout, end)
    peer.load_state_dict(export_weights(ours, layout))  # strict
    again = make_ours(end)
    import_weights(again, peer.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize("end", NAMES)
@pytest.mark.parametrize("layout", ["torchvision", "timm"])
def test_every_size_has_its_peers_names_and_shapes(layout: str, end: str) -> None:
    if (layout, end) == ("torchvision", "XL"):
        pytest.skip("torchvision has no ConvNeXt-XL")
    with torch.device("meta"):
        ours, theirs = make_ours(end), make_peer(layout, end)
    exported = {name: tensor.shape for name, tensor in export_weights(ours, layout).items()}
    assert exported == {name: tensor.shape for name, tensor in theirs.state_dict().items()}


RELEASED = """downsample_layers.0.0.weight 96 3 4 4; downsample_layers.0.1.bias 96; downsample_layers.3.0.weight 384
downsample_layers.3.1.weight 768 384 2 2; stages.2.8.gamma 384;
stages.0.0.dwconv.weight 96 1 7 7; stages.0.0.norm.weight 96
stages.0.0.pwconv1.weight 384 96; stages.3.2.pwconv2.weight 768 3072; stages.3.2.pwconv2.bias 768; norm.weight 768
head.weight 1000 768"""


def test_released_names_and_shapes() -> None:
    """Names and shapes as in the released code's ``models/convnext.py``; 182 tensors in ConvNeXt-T."""
    ours = randomize(make_ours("T"))
    released = export_weights(ours, "released")
    assert len(released) == 182
    for line in RELEASED.replace(";\n", ";").replace("\n", ";").split(";"):
        name, *shape = line.split()
        assert list(released[name].shape) == [int(n) for n in shape]
    again = make_ours("T")
    assert import_weights(again, {"model": released}) == "released"  # as the checkpoints are saved
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), again.state_dict().values(), strict=True))


def drop(weights: dict) -> None:
    del weights["classifier.2.bias"]


def add(weights: dict) -> None:
    weights["extra.weight"] = torch.zeros(1)


def reshape(weights: dict) -> None:
    weights["classifier.2.weight"] = torch.zeros(10, 768)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop, "missing: classifier.2.bias$"),
        (add, "unexpected: extra.weight$"),
        (reshape, r"misshapen: classifier.2.weight \(10, 768\) for \(1000, 768\)$"),
        (lambda w: [drop(w), add(w)], "missing: classifier.2.bias; unexpected: extra.weight"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_changes(spoil: Callable[[dict], object], message: str) -> None:
    ours = make_ours("T")
    weights = export_weights(ours, "torchvision")
    weights = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    spoil(weights)
    before = ours.head.weight.clone()
    with pytest.raises(ValueError, match=message):
        import_weights(ours, weights)
    assert torch.equal(before, ours.head.weight)


def test_layer_scale_must_match() -> None:
    weights = export_weights(make_ours("T"), "timm")
    with pytest.raises(ValueError, match="unexpected: stages.0.blocks.0.gamma"):
        import_weights(PathNet(CONVNEXT), weights)


def test_only_the_ends_have_published_weights() -> None:
    with torch.device("meta"):
        net = PathNet(Flags(gelu=True))
    with pytest.raises(ValueError, match="only the ends"):
        layouts_of(net)
    with pytest.raises(ValueError, match="unknown layout 'keras'.*torchvision"):
        export_weights(PathNet(CONVNEXT), "keras")
