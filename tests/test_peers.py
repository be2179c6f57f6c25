from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from ablations.run import run_trial
from ablations.trial import Trial
from convnext_path import RECIPES, Rung, cost
from convnext_path.ladder import find_reference
from convnext_path.networks import make_network
from convnext_path.peers import PeerFlags, PeerScale

RECIPE = RECIPES["imagenet"]["enhanced"]


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_a_peer_is_timms_network_at_the_images_side(name: str) -> None:
    net = make_network(PeerFlags(), PeerScale(name), RECIPE, num_classes=7, in_channels=1, image_size=64).eval()
    assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 7)
    theirs = timm.create_model(name, num_classes=1000)
    mine = make_network(PeerFlags(), PeerScale(name), RECIPE)
    assert cost(mine).params == sum(p.numel() for p in theirs.parameters())


def test_a_reference_of_timms_trains_beside_the_rungs(trial: Trial) -> None:
    rung = find_reference("timm:test_convnext")
    assert (rung.name, rung.title, rung.is_reference) == ("timm:test_convnext", "test_convnext", True)
    assert Rung.from_dict(rung.to_dict()) == rung
    result = run_trial(replace(trial, rung=rung.name, flags=rung.flags, scale=rung.scale))
    assert result.cost.params > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet5", "timm has no model 'resnet5'; near: resnet"),
        ("swin", r"unknown reference 'swin' \(did you mean swin-"),
    ],
)
def test_references_that_are_none(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_reference(name)


def test_without_timm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("convnext_path.peers.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="timm:resnet18 needs timm: pip install timm"):
        find_reference("timm:resnet18")
