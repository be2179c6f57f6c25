import os
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

from ablations.run import run_trial
from ablations.trial import Trial
from convnext_path import RECIPES, Rung, cost
from convnext_path.ladder import find_model, find_reference
from convnext_path.networks import begin, make_network
from convnext_path.peers import PeerFlags, PeerScale, choose_weights, find_peer, make_peer

RECIPE = RECIPES["imagenet"]["enhanced"]


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_a_peer_is_timms_network_at_the_images_side(name: str) -> None:
    scale = PeerScale("timm", name)
    net = make_network(PeerFlags(), scale, RECIPE, num_classes=7, in_channels=1, image_size=64).eval()
    assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 7)
    theirs = timm.create_model(name, num_classes=1000)
    assert cost(make_network(PeerFlags(), scale, RECIPE)).params == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(
    ("name", "side"),
    [
        *(("resnet18", 224), ("convnext_tiny", 224), ("swin_t", 224), ("swin_v2_t", 256), ("vit_b_16", 224)),
        *(("maxvit_t", 224), ("regnet_y_400mf", 224), ("efficientnet_b0", 224), ("shufflenet_v2_x1_0", 224)),
    ],
)
def test_costs_of_torchvisions_are_those_it_prints(name: str, side: int) -> None:
    """Attention by nn.MultiheadAttention, by einsum and by products; networks that the meta device cannot make."""
    with torch.device("meta"):
        net = make_peer(PeerScale("torchvision", name), 1000, 3, side, 0.1)
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    found = cost(net, side)
    assert found.params == meta["num_params"]
    assert found.paper_macs / 1e9 == pytest.approx(meta["_ops"], abs=0.001 + 0.5e-3 * meta["_ops"])


def test_stochastic_depth_of_torchvisions_ends_where_the_recipe_says() -> None:
    depths = [
        [layer.p for layer in make_peer(PeerScale("torchvision", name), 2, 3, 64, 0.3).modules() if is_depth(layer)]
        for name in ("convnext_tiny", "swin_t")
    ]
    for ps in depths:
        assert (ps[0], ps[-1]) == (0, pytest.approx(0.3))
        assert ps == sorted(ps)


def is_depth(layer: nn.Module) -> bool:
    return isinstance(layer, StochasticDepth)


def test_a_reference_of_timms_trains_beside_the_rungs(trial: Trial) -> None:
    rung = find_reference("timm:test_convnext")
    assert (rung.name, rung.title, rung.is_reference) == ("timm:test_convnext", "timm:test_convnext", True)
    assert Rung.from_dict(rung.to_dict()) == rung
    result = run_trial(replace(trial, rung=rung.name, flags=rung.flags, scale=rung.scale))
    assert result.cost.params > 0


def test_names_are_torchvisions_then_ours_then_timms() -> None:
    assert find_model("resnet50").scale == find_peer("torchvision:resnet50") == PeerScale("torchvision", "resnet50")
    assert find_model("timm:resnet50").scale == PeerScale("timm", "resnet50")
    assert find_model("convnext_atto").scale == PeerScale("timm", "convnext_atto")
    ours = find_model("swin-nano")
    assert (ours.section, ours.scale) == ("Models", find_reference("swin-nano").scale)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet5", "timm has no model 'resnet5'; near: resnet"),
        ("torchvision:swin_x", "torchvision has no model 'swin_x'; near: swin_t"),
        ("swin", r"unknown reference 'swin' \(did you mean swin-"),
    ],
)
def test_references_that_are_none(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_reference(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swim_t", "neither torchvision nor timm has a model 'swim_t'; near: swin_t"),
        ("", "neither torchvision nor timm has a model ''"),
        ("tim:resnet18", "neither torchvision nor timm has a model 'tim:resnet18'; near: resnet18"),
        ("googlenet", "googlenet trains with classifiers on the way"),
    ],
)
def test_models_that_are_none(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_model(name)


def test_without_timm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("convnext_path.peers.find_spec", lambda name: None if name == "timm" else name)
    with pytest.raises(ValueError, match="timm:resnet18 needs timm: pip install timm"):
        find_reference("timm:resnet18")


def save(net: nn.Module, file: Path) -> str:
    torch.save(net.state_dict(), file)
    return str(file)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        *(("torchvision:shufflenet_v2_x0_5", 64), ("torchvision:vit_b_32", 64), ("torchvision:swin_t", 64)),
        *(("timm:test_convnext", 64), ("timm:test_vit", 64)),
    ],
)
@pytest.mark.parametrize("classes", [7, 9])
def test_a_files_weights_are_taken_all_but_another_classifier(
    name: str, side: int, classes: int, tmp_path: Path
) -> None:
    package, _, model = name.partition(":")
    theirs = timm.create_model(model, num_classes=7) if package == "timm" else None
    theirs = theirs or torchvision.models.get_model(model, num_classes=7)
    scale = find_peer(name)
    flags = choose_weights(scale, save(theirs, tmp_path / "w.pth"))
    net = make_network(flags, scale, RECIPE, classes, image_size=side)
    random = {n: tensor.clone() for n, tensor in net.state_dict().items()}
    begin(net, flags, scale, classes, image_size=side)
    source, kept = theirs.state_dict(), []
    for n, tensor in net.state_dict().items():
        if tensor.shape != source[n].shape and "pos_embed" in n:
            assert not torch.equal(tensor, random[n])  # interpolated
        elif tensor.shape == source[n].shape:
            assert torch.equal(tensor, source[n]), n
        else:
            kept.append(n)
    assert len(kept) == (2 if classes == 9 else 0)


def test_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = find_peer("resnet18")
    net = make_network(PeerFlags(), scale, RECIPE, 3, image_size=64)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    def refuse(message: str, flags: PeerFlags) -> None:
        with pytest.raises(ValueError, match=message):
            begin(net, flags, scale, 3, image_size=64)

    file = tmp_path / "w.pth"
    with pytest.raises(ValueError, match="w.pth cannot be read: No such file"):
        choose_weights(scale, str(file))
    other = choose_weights(scale, save(torchvision.models.resnet34(), file))
    refuse(r"not torchvision:resnet18's: unexpected: layer1.2.* and \d+ more", other)
    wide = torchvision.models.resnet18(width_per_group=64)
    wide.layer4[0].conv1 = nn.Conv2d(256, 512, 1)
    refuse("missing|misshapen: layer4.0.conv1.weight", choose_weights(scale, save(wide, file)))
    refuse("w.pth has changed since", other)
    torch.save([1], file)
    refuse("w.pth holds no weights: no tensors", choose_weights(scale, str(file)))
    file.write_text("text")
    refuse("w.pth holds no weights", choose_weights(scale, str(file)))

    def unreachable(*args: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert choose_weights(scale, None) == PeerFlags("IMAGENET1K_V1")
    refuse("its weights IMAGENET1K_V1 cannot be had: .*no network", choose_weights(scale, None))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_weights_file_runs_no_code(tmp_path: Path) -> None:
    torch.save({"fc.weight": Trap(tmp_path / "sprung")}, tmp_path / "w.pth")
    scale = find_peer("resnet18")
    flags = choose_weights(scale, str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match="holds no weights"):
        begin(make_network(flags, scale, RECIPE), flags, scale)
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_published_weights_are_fetched_and_begun_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchvision's own way to fetch them, but for the network."""
    published = torchvision.models.shufflenet_v2_x0_5()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **o: published.state_dict())
    rung = find_model("shufflenet_v2_x0_5", pretrained=True)
    assert (rung.name, rung.recipe) == ("shufflenet_v2_x0_5/IMAGENET1K_V1", "finetune")
    net = make_network(rung.flags, rung.scale, RECIPE, 3, image_size=64)
    begin(net, rung.flags, rung.scale, 3, image_size=64)
    assert torch.equal(net.get_parameter("conv1.0.weight"), published.conv1[0].weight)


def test_ours_begin_without_weights() -> None:
    with pytest.raises(ValueError, match="swin-nano is a network of ours"):
        find_model("swin-nano", pretrained=True)


@pytest.mark.parametrize(
    ("name", "side", "channels", "message"),
    [
        ("vit_b_16", 40, 3, "vit_b_16 cannot be made for 5 classes and 3 x 40 x 40 px: .*patch size"),
        ("maxvit_t", 64, 3, "not divisible by partition size 7"),
        ("resnet18", 64, 1, "it takes 3 channels"),
    ],
)
def test_images_that_do_not_suit(name: str, side: int, channels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_peer(find_peer(name), 5, channels, side, 0.0)
