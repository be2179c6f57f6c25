import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import convnext_tiny, resnet50

from ablations.analysis.tables import agrees
from ablations.report.readme import COSTS, count_all
from convnext_path import CONVNEXT, LADDERS, Flags, PathNet, cost
from tests.conftest import TINY


@pytest.fixture(scope="module")
def costs() -> dict:
    return count_all()


def test_the_committed_oracle_is_current(costs: dict) -> None:
    assert json.loads(COSTS.read_text()) == json.loads(json.dumps(costs))


def test_thirty_of_thirty_two_distinct_rows_agree_to_the_printed_digit(costs: dict) -> None:
    published = [row for row in costs["convnext-t"] + costs["convnext-b"] if row["paper_gmacs"] is not None]
    disagree = [(row["ladder"], row["rung"]) for row in published if not agrees(row)]
    assert disagree == [("convnext-t", "layer_norm"), ("convnext-t", "separate_downsampling")]
    assert len(published) - 2 == 32  # the two recipes of a ResNet are one row of costs


@pytest.mark.parametrize("ladder", ["convnext-t", "convnext-b", "convnext-nano"])
def test_fvcore_agrees_with_torchs_own_counter_on_every_rung(ladder: str, costs: dict) -> None:
    for rung, row in zip(LADDERS[ladder], costs[ladder], strict=True):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            PathNet(rung.flags, rung.scale)(torch.zeros(1, 3, 224, 224))
        assert row["macs"] == counter.get_total_flops() / 2  # a multiplication and an addition each


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


@pytest.mark.parametrize("bad", [{"image_size": 0}, {"in_channels": 0}])
def test_bad_arguments(bad: dict) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        cost(PathNet(Flags(), TINY), **bad)
