import json
from dataclasses import replace
from zlib import crc32

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import Swin_T_Weights, Swin_V2_T_Weights, ViT_B_16_Weights

from ablations.study.trial import Trial
from ablations.training.run import run_trial
from convnext_path import LADDERS, NANO, RECIPES, Cost, Flags, Rung, cost
from convnext_path.module import PathModule
from convnext_path.networks.designs import Design, Size
from convnext_path.networks.registry import make_network
from convnext_path.networks.transformer_flags import (
    SWIN,
    SWIN_NANO,
    SWIN_T,
    SWIN_V2,
    VIT,
    VIT_B,
    VIT_NANO,
    SwinScale,
    ViTScale,
)

RECIPE = RECIPES["imagenet"]["enhanced"]
KINDS: list[tuple[Design, Size]] = [(Flags(), NANO), (SWIN, SWIN_NANO), (SWIN_V2, SWIN_NANO), (VIT, VIT_NANO)]


def count(flags: Design, scale: Size, image_size: int) -> Cost:
    with torch.device("meta"):
        net = make_network(flags, scale, RECIPE, image_size=image_size)
    return cost(net, image_size)


@pytest.mark.parametrize(
    ("flags", "scale", "side", "weights"),
    [
        (SWIN, SWIN_T, 224, Swin_T_Weights.DEFAULT),
        (SWIN_V2, SWIN_T, 256, Swin_V2_T_Weights.DEFAULT),
        (VIT, VIT_B, 224, ViT_B_16_Weights.DEFAULT),
    ],
)
def test_costs_are_those_that_torchvision_prints(flags: Design, scale: Size, side: int, weights: object) -> None:
    found, meta = count(flags, scale, side), weights.meta  # type: ignore[attr-defined]
    assert found.params == meta["num_params"]
    assert found.paper_macs / 1e9 == pytest.approx(meta["_ops"], abs=0.001 + 0.5e-3 * meta["_ops"])


@pytest.mark.parametrize(("flags", "scale"), KINDS)
def test_fvcore_agrees_with_torchs_own_counter(flags: Design, scale: Size) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        make_network(flags, scale, RECIPE, image_size=64).eval()(torch.zeros(1, 3, 64, 64))
    assert count(flags, scale, 64).paper_macs == counter.get_total_flops() / 2


@pytest.mark.parametrize("ladder", LADDERS)
def test_rungs_and_trials_round_trip_through_json(ladder: str, trial: Trial) -> None:
    for rung in LADDERS[ladder]:
        assert Rung.from_dict(json.loads(json.dumps(rung.to_dict()))) == rung
        mine = replace(trial, flags=rung.flags, scale=rung.scale)
        assert Trial.from_dict(json.loads(json.dumps(mine.to_dict()))) == mine


@pytest.mark.parametrize(("flags", "scale"), KINDS)
def test_a_module_comes_back_from_its_hyperparameters(flags: Design, scale: Size) -> None:
    module = PathModule(flags, scale, RECIPE, 10, 1, image_size=32)
    again = PathModule(**module.hparams)
    assert type(again.net) is type(module.net)
    assert (again.net.flags, again.net.scale) == (flags, scale)
    assert again(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("flags", "scale"), [(SWIN_V2, SwinScale((1, 1, 1, 1), 16, (1, 1, 1, 1))), (VIT, ViTScale(2, 16, 2))]
)
def test_transformers_train_and_come_out_the_same_each_time(flags: Design, scale: Size, trial: Trial) -> None:
    trial = replace(trial, flags=flags, scale=scale)
    first, second = run_trial(trial), run_trial(trial, loader_workers=1)
    assert first.outcome == second.outcome
    assert first.cost.paper_macs > 0


@pytest.mark.parametrize(("flags", "scale"), KINDS)
def test_networks_without_classes_or_channels(flags: Design, scale: Size) -> None:
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        make_network(flags, scale, RECIPE, num_classes=0)
    with pytest.raises(ValueError, match="in_channels must be at least 1, got 0"):
        make_network(flags, scale, RECIPE, in_channels=0)


def test_a_scale_of_another_network() -> None:
    with pytest.raises(ValueError, match="ViTScale is not a scale for SwinFlags"):
        make_network(SWIN, VIT_NANO, RECIPE)


def test_positions_tokens_and_scales_do_not_decay() -> None:
    from convnext_path.module import weight_decay_groups

    for flags, scale, names in (
        (SWIN, SWIN_NANO, {"table"}),
        (SWIN_V2, SWIN_NANO, {"log_scale", "weight"}),
        (VIT, VIT_NANO, {"places", "token"}),
    ):
        net = make_network(flags, scale, RECIPE, 10, 1, 32)
        _, apart = weight_decay_groups(net, RECIPE)
        ids = {id(parameter) for parameter in apart["params"]}
        found = {name.rpartition(".")[2] for name, p in net.named_parameters() if id(p) in ids and p.ndim > 1}
        assert found == names


@pytest.mark.parametrize("ladder", [name for name in LADDERS if name.endswith("nano")])
@torch.no_grad()
def test_each_step_of_a_small_ladder_computes_something_else(ladder: str) -> None:
    """At 32 pixels, where windows could be too large to shift."""
    images, logits = torch.randn(4, 1, 32, 32), []
    for rung in LADDERS[ladder]:
        net = make_network(rung.flags, rung.scale, RECIPE, 10, 1, 32).eval()
        for name, parameter in net.named_parameters():  # what two rungs share has the same values
            torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(crc32(name.encode())))
        logits.append(net(images))
    changed = [rung.change[0] != "recipe" for rung in LADDERS[ladder]]
    kept = [not torch.allclose(a, b) for i, b in enumerate(logits) if changed[i] for a in logits[:i]]
    assert all(kept)
