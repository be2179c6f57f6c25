import pytest

from convnext_path.networks.peer_names import PeerScale, find_peer
from convnext_path.references import find_model, find_reference


def test_names_are_torchvisions_then_ours_then_timms() -> None:
    assert find_model("resnet50").scale == find_peer("torchvision:resnet50") == PeerScale("torchvision", "resnet50")
    assert find_model("timm:resnet50").scale == PeerScale("timm", "resnet50")
    assert find_model("convnext_atto").scale == PeerScale("timm", "convnext_atto")
    ours = find_model("swin-nano")
    assert (ours.section, ours.scale) == ("Models", find_reference("swin-nano").scale)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet5", "timm has no model 'resnet5'; similar: resnet"),
        ("torchvision:swin_x", "torchvision has no model 'swin_x'; similar: swin_t"),
        ("swin", r"unknown reference 'swin' \(did you mean swin-"),
    ],
)
def test_references_that_are_none(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_reference(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swim_t", "neither torchvision nor timm has a model 'swim_t'; similar: swin_t"),
        ("", "neither torchvision nor timm has a model ''"),
        ("tim:resnet18", "neither torchvision nor timm has a model 'tim:resnet18'; similar: resnet18"),
        ("googlenet", "googlenet trains with auxiliary classifiers"),
    ],
)
def test_models_that_are_none(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_model(name)


def test_ours_begin_without_weights() -> None:
    with pytest.raises(ValueError, match="swin-nano is a network of this project"):
        find_model("swin-nano", pretrained=True)
