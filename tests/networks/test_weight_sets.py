from collections import OrderedDict
from collections.abc import Collection, Iterable

import pytest
import torch
from torch import Tensor, nn

from convnext_path.networks.weight_files import clean_names
from convnext_path.networks.weight_sets import choose_set

NET = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 1), bn=nn.BatchNorm2d(2), head=nn.Linear(2, 3)))
STATE = NET.state_dict()
OTHER = {name: tensor + 1 for name, tensor in STATE.items()}

#: What stands before the trained weights, and before those that follow them.
PAIRS = [
    ("model.", "ema_model."),
    ("model.", "model_ema."),
    ("model.", "model.ema."),
    ("net.", "ema.module."),
    ("", "ema."),
    ("student.backbone.", "teacher.backbone."),
    ("student_backbone.", "teacher_backbone."),
    ("ema.student.", "ema.teacher."),
    ("module.encoder_q.", "module.encoder_k."),
    ("base_encoder.", "momentum_encoder."),
    ("backbone.", "backbone_momentum."),
    ("online_encoder.", "target_encoder."),
    ("online_net.", "target_net."),
    ("query.", "key.0."),
    ("netOnline.", "netEMA."),
    ("_orig_mod.net.", "_orig_mod.swa_net."),
]
#: Sets whose names do not tell.
TIES = [
    ("rgb.", "depth."),
    ("net1.", "net2."),
    ("source.", "target."),
    ("model.", "backbone."),
    ("teacher.", "ema."),
    ("", "copy."),
    ("left.", "ema."),
    ("student.", "online.", "teacher."),
    ("", "module."),
    ("net.", "_orig_mod.net."),
]


def place(start: str, weights: dict[str, Tensor], left_out: Collection[str] = ()) -> dict[str, Tensor]:
    return {start + name: tensor for name, tensor in weights.items() if name not in left_out}


def orders(*sets: dict[str, Tensor]) -> Iterable["OrderedDict[str, Tensor]"]:
    """Some sets in one mapping, in many orders."""
    tensors = [item for one in sets for item in one.items()]
    yield from map(OrderedDict, (tensors, tensors[::-1], sorted(tensors, key=lambda item: item[0])))
    yield OrderedDict(sorted(tensors, key=lambda item: item[0][::-1]))


@pytest.mark.parametrize(("trained", "following"), PAIRS)
@pytest.mark.parametrize("left_out", [(), ("head.bias",)], ids=["whole", "without a bias"])
def test_the_trained_set_is_taken_in_any_order(trained: str, following: str, left_out: Collection[str]) -> None:
    for weights in orders(place(trained, STATE, left_out), place(following, OTHER), {"queue": torch.zeros(2)}):
        found = clean_names(weights, STATE.keys())
        assert {*found} - {"queue"} == {*STATE} - {*left_out}
        assert all(torch.equal(found[name], STATE[name]) for name in {*STATE} - {*left_out})


@pytest.mark.parametrize("starts", TIES)
def test_sets_whose_names_do_not_tell_are_refused(starts: tuple[str, ...]) -> None:
    told = ", ".join(sorted(start.rstrip(".") or r"\(names without a prefix\)" for start in starts))
    if "module." in starts or "_orig_mod.net." in starts:  # what wraps a network is no name of a set: tensors are told
        told = r"\S+, \S+"
    for weights in orders(*(place(start, {n: w + i for n, w in STATE.items()}) for i, start in enumerate(starts))):
        with pytest.raises(ValueError, match=f"^it holds several sets of weights, {told}: save one of them alone$"):
            clean_names(weights, STATE.keys())


@pytest.mark.parametrize("starts", TIES)
def test_a_second_name_for_the_same_weights_is_no_second_set(starts: tuple[str, ...]) -> None:
    for weights in orders(*(place(start, STATE) for start in starts)):
        found = clean_names(weights, STATE.keys())
        assert {*found} == {*STATE}
        assert all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_parts_of_a_network_are_no_sets() -> None:
    """Whose names are parts of each other's."""
    part = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(1, 1, 1), block=nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 1, 1))))
    )
    state = part.state_dict()
    for weights in orders(place("model.", state)):
        assert clean_names(weights, state.keys()).keys() == state.keys()


def test_one_set_needs_no_name() -> None:
    for name in ("ema", "teacher", "foo", ""):
        assert choose_set([name]) == name
