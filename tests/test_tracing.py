import pytest
import torch
from torchvision.models import convnext_tiny, resnet50

from convnext_path import CONVNEXT, Flags, PathNet, cost
from convnext_path.costs import Kept
from convnext_path.tracing import count_kept
from tests.conftest import TINY


@pytest.mark.parametrize(("ours", "theirs"), [(PathNet(Flags()), resnet50), (PathNet(CONVNEXT), convnext_tiny)])
def test_the_ends_cost_what_torchvisions_do(ours: PathNet, theirs: type) -> None:
    mine, other = cost(ours, 64), cost(theirs(), 64)
    assert mine.paper_macs == other.paper_macs
    assert mine.activations == other.activations


def test_the_network_is_left_as_it_is() -> None:
    net = PathNet(Flags(), TINY, in_channels=1).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = cost(net, 40, in_channels=1)
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert found.params == sum(p.numel() for p in net.parameters())
    assert found.all_macs > found.paper_macs > 0


def test_counts_of_one_layer_by_hand() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8))
    found = cost(net, 10)
    assert dict(found.macs)["conv"] == 10 * 10 * 3 * 3 * 3 * 8
    assert (found.activations, found.params) == (800, 3 * 8 * 9 + 8 + 16)


def test_what_a_step_keeps_by_hand() -> None:
    with torch.device("meta"):
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 1))
    assert count_kept(net, 10) == Kept(10 * 10 * (3 + 8))  # what convolutions take; ReLU's output is one of them


@pytest.mark.parametrize("bad", [{"image_size": 0}, {"in_channels": 0}])
def test_bad_arguments(bad: dict) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        cost(PathNet(Flags(), TINY), **bad)
