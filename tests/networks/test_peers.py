from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

from ablations.study.trial import Trial
from ablations.training.run import run_trial
from convnext_path import RECIPES, Rung, cost
from convnext_path.networks.peer_names import PeerFlags, PeerScale, find_peer
from convnext_path.networks.peers import make_peer
from convnext_path.networks.registry import make_network
from convnext_path.references import find_reference

RECIPE = RECIPES["imagenet"]["enhanced"]

#: They take a side and stochastic depth, either alone, or neither.
TIMMS = ("vit_tiny_patch16_224", "resnet18", "convnext_atto", "efficientvit_m0", "densenet121")


@pytest.mark.parametrize("name", TIMMS)
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
