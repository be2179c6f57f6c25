import itertools
import random
from dataclasses import fields, replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convnext_path import CONVNEXT, RESNET50, Flags, PathNet, Scale
from convnext_path.networks.layers import BatchNorm2d, PatchConv2d
from convnext_path.networks.path import Block
from tests.conftest import TINY

FLAG_NAMES = [f.name for f in fields(Flags)]


def random_flags(chance: random.Random) -> Flags:
    values = {name: chance.random() < 0.5 for name in FLAG_NAMES if name != "kernel_size"}
    return Flags(**values, kernel_size=chance.choice([3, 5, 7, 9, 11]))


def train_step(net: PathNet, images: torch.Tensor) -> torch.Tensor:
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    loss = F.cross_entropy(net(images), torch.arange(len(images)) % 2)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    optimizer.step()
    assert all(p.isfinite().all() for p in net.parameters())
    return loss


@pytest.mark.parametrize("case", range(200))
def test_random_combinations_train(case: int) -> None:
    chance = random.Random(case)
    torch.manual_seed(case)
    flags, side = random_flags(chance), chance.randint(32, 49)
    net = PathNet(
        flags,
        TINY,
        num_classes=chance.randint(2, 12),
        in_channels=chance.choice([1, 3]),
        layer_scale=chance.choice([None, 1e-6, 1.0]),
        drop_path=chance.choice([0.0, 0.3]),
        init=chance.choice(["trunc_normal", "kaiming_normal"]),
    )
    images = torch.randn(3, net.stem.conv.in_channels, side, side + chance.randint(0, 3))
    assert train_step(net, images).isfinite()


@pytest.mark.parametrize("name", FLAG_NAMES)
def test_each_flag_alone_makes_another_network(name: str) -> None:
    flags = replace(Flags(), **{name: getattr(CONVNEXT, name)})
    torch.manual_seed(0)
    plain = PathNet(Flags(), TINY)
    torch.manual_seed(0)
    other = PathNet(flags, TINY)
    images = torch.randn(2, 3, 37, 37)
    assert str(plain) != str(other)
    assert not torch.equal(plain(images), other(images))
    train_step(other, images)


def test_parameters_of_the_ends_are_exact() -> None:
    with torch.device("meta"):
        ends = PathNet(Flags()), PathNet(CONVNEXT, layer_scale=1e-6)
    assert [sum(p.numel() for p in net.parameters()) for net in ends] == [25_557_032, 28_589_128]


def test_in_channels_and_classes() -> None:
    net = PathNet(CONVNEXT, TINY, num_classes=7, in_channels=5)
    assert net(torch.zeros(2, 5, 33, 47)).shape == (2, 7)


@pytest.mark.parametrize("flags", [random_flags(random.Random(i)) for i in range(20)])
def test_a_convolution_has_a_bias_unless_batch_norm_follows(flags: Flags) -> None:
    for sequence in PathNet(flags, TINY).modules():
        if isinstance(sequence, nn.Sequential):
            layers = [*sequence, nn.Identity()]
            for layer, follower in itertools.pairwise(layers):
                if isinstance(layer, nn.Conv2d):
                    assert (layer.bias is None) == isinstance(follower, nn.BatchNorm2d)


def blocks_of(net: PathNet) -> list[Block]:
    return [m for m in net.modules() if isinstance(m, Block)]


def count(block: nn.Module, *kinds: type) -> int:
    return sum(isinstance(m, kinds) for m in block.modules())


def test_fewer_activations_and_norms_leave_one_of_each() -> None:
    plain = blocks_of(PathNet(Flags(), TINY))[-1]
    fewer = blocks_of(PathNet(Flags(fewer_activations=True, fewer_norms=True), TINY))[-1]
    assert (count(plain, nn.ReLU), count(plain.branch, nn.BatchNorm2d)) == (3, 3)
    assert (count(fewer, nn.ReLU), count(fewer.branch, nn.BatchNorm2d)) == (1, 1)
    assert list(fewer.branch._modules) == ["expand", "spatial", "spatial_norm", "spatial_act", "project"]


def test_move_up_puts_the_stride_and_the_inputs_on_the_first_convolution() -> None:
    net = PathNet(Flags(move_up_depthwise=True, depthwise=True), TINY)
    first = net.stages[1].block0
    spatial = first.branch.spatial
    assert next(iter(first.branch)) is spatial
    assert spatial.stride == (2, 2)
    assert spatial.in_channels == spatial.out_channels == spatial.groups == 64  # 4 x the first stage's width


def test_projection_shortcuts() -> None:
    def projections(flags: Flags) -> list[str]:
        net = PathNet(flags, RESNET50)
        return [name for name, m in net.named_modules() if isinstance(m, Block) and len(list(m.shortcut.children()))]

    with torch.device("meta"):
        assert projections(Flags()) == [f"stages.{i}.block0" for i in range(4)]
        assert projections(replace(CONVNEXT, separate_downsampling=False)) == [f"stages.{i}.block0" for i in (1, 2, 3)]
        assert projections(CONVNEXT) == []


def test_separate_downsampling_adds_its_norms() -> None:
    before, after = (PathNet(Flags(separate_downsampling=s), TINY) for s in (False, True))
    assert not hasattr(before.stem, "norm")
    assert isinstance(before.norm, nn.Identity)
    assert [isinstance(m, nn.BatchNorm2d) for m in (after.stem.norm, after.norm)] == [True, True]
    assert [type(m) for m in after.stages[1].downsampling] == [BatchNorm2d, PatchConv2d]
    assert not any(hasattr(before.stages[i], "downsampling") for i in range(4))


def test_drop_path_rises_linearly_in_depth() -> None:
    rates = [b.drop_path.rate for b in blocks_of(PathNet(Flags(), TINY, drop_path=0.4))]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_drop_path_leaves_the_shortcut() -> None:
    block = Block(Flags(fewer_activations=True), 16, 4, 1, None, 1.0).train()
    x = torch.randn(4, 16, 5, 5)
    assert torch.equal(block(x), x)


def test_initialization() -> None:
    torch.manual_seed(0)
    scale = Scale(width=64, ratio_width=64, wide_width=64)
    net = PathNet(CONVNEXT, scale)
    weights = net.stages[2].block0.branch.expand.weight
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert all(m.bias.abs().max() == 0 for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    net = PathNet(Flags(), scale, init="kaiming_normal")
    weights = net.stages[2].block0.branch.spatial.weight  # fan out: channels x 3 x 3
    assert weights.std().item() == pytest.approx((2 / (weights.shape[0] * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"in_channels": 0}, "in_channels must be at least 1"),
        ({"drop_path": 1.5}, "drop_path must be between 0.0 and 1.0"),
        ({"init": "xavier"}, "allowed: trunc_normal, kaiming_normal"),
    ],
)
def test_bad_arguments(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PathNet(Flags(), TINY, **bad)
    with pytest.raises(TypeError):
        PathNet(Flags(), TINY, dropout=0.1)  # type: ignore[call-arg]
