from itertools import product

import torch
from torch.nn import functional as F

from convnext_path.networks.swin import SwinNet
from convnext_path.networks.transformer_flags import SWIN, SWIN_NANO, SWIN_T, SwinFlags, SwinScale
from tests.networks.conftest import randomize

TINY = SwinScale((1, 2, 1, 1), 8, (1, 2, 2, 2), window=2, patch=2)
POSITIONS = ("none", "absolute", "relative", "both")
COMBINATIONS = [
    SwinFlags(shifted, position, appearance, *v2)
    for shifted, position, appearance, *v2 in product((False, True), POSITIONS, *4 * [(False, True)])
]


def test_every_combination_trains_a_step() -> None:
    images, labels = torch.randn(2, 3, 16, 16), torch.tensor([0, 1])
    for flags in COMBINATIONS:
        net = SwinNet(flags, TINY, num_classes=2, image_size=16, drop_path=0.1)
        randomize(net)  # a norm that starts at zero lets no gradient through
        before = [parameter.clone() for parameter in net.parameters()]
        F.cross_entropy(net(images), labels).backward()
        torch.optim.SGD(net.parameters(), lr=1.0).step()
        changed = [not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True)]
        assert sum(changed) > 0.6 * len(changed), flags  # a path may be dropped, queries without appearance idle


def test_what_suits_an_image() -> None:
    deep = SwinNet(SWIN, SwinScale((1, 1, 1, 1), 16, (1, 1, 1, 1)), 10, 1, 32).stages
    assert [stage.block0.attention.window for stage in deep] == [4, 4, 4, 2]  # of sides 16, 8, 4, 2
    sizes = {
        side: (SWIN_T.choose_patch(side), SWIN_T.choose_window(side)) for side in (32, 64, 128, 224, 256, 384, 2048)
    }
    assert sizes == {32: (2, 4), 64: (2, 4), 128: (4, 4), 224: (4, 7), 256: (4, 8), 384: (4, 12), 2048: (4, 12)}
    assert SwinNet(SWIN, SWIN_NANO, 10, 1, 32)(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
