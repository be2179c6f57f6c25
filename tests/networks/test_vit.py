from itertools import product

import pytest
import torch
from torch.nn import functional as F

from convnext_path.networks.transformer_flags import VIT_NANO, VIT_S, ViTFlags, ViTScale
from convnext_path.networks.vit import ViTNet, make_sines

COMBINATIONS = [
    ViTFlags(token, position) for token, position in product((False, True), ("none", "learned", "sinusoidal"))
]


@pytest.mark.parametrize("flags", COMBINATIONS)
def test_every_combination_trains_a_step(flags: ViTFlags) -> None:
    net = ViTNet(flags, ViTScale(2, 16, 2), num_classes=2, in_channels=1, image_size=32, drop_path=0.1)
    before = [parameter.clone() for parameter in net.parameters()]
    F.cross_entropy(net(torch.randn(4, 1, 32, 32)), torch.tensor([0, 1, 0, 1])).backward()
    torch.optim.SGD(net.parameters(), lr=1.0).step()
    changed = [not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True)]
    assert sum(changed) > 0.6 * len(changed)


@torch.no_grad()
@pytest.mark.parametrize("flags", COMBINATIONS)
def test_only_positions_tell_where_a_patch_was(flags: ViTFlags) -> None:
    net = ViTNet(flags, ViTScale(2, 16, 2), num_classes=2, in_channels=1, image_size=32).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    image = torch.randn(1, 1, 32, 32)
    same = torch.allclose(net(image), net(image.roll(4, 3)), atol=1e-5)  # by a patch
    assert same == (flags.position == "none")


def test_sines_are_no_two_alike_and_nearer_places_are_liker() -> None:
    sines = make_sines(8, 32)
    assert len({tuple(row.tolist()) for row in sines}) == 64
    assert sines.abs().max() <= 1
    like = sines @ sines.T  # of places in a row of the grid
    assert like[0, 0] > like[0, 1] > like[0, 2]
    assert like[0, 8] == pytest.approx(like[0, 1].item(), rel=1e-5)


def test_patches_that_suit_an_image() -> None:
    assert [VIT_S.choose_patch(side) for side in (8, 32, 64, 96, 128, 224)] == [1, 4, 8, 12, 16, 16]
    assert ViTNet(ViTFlags(), VIT_NANO, 10, 3, 32)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
