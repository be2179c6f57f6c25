import argparse
import collections
import datetime
import io
import os
import pathlib
import pickle
import tarfile
import types
import uuid
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convnext_path.networks.weight_files import SETS, clean_names, explain, find_weights, read_weights

NET = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 1), bn=nn.BatchNorm2d(2), head=nn.Linear(2, 3)))
STATE = NET.state_dict()


def pack(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def check_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor] = STATE) -> None:
    assert {*found} == {*wanted}
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("key", [*SETS, "generator", "net.of.mine"])
def test_a_set_of_weights_is_found_under_any_key(key: str, depth: int) -> None:
    content: object = STATE
    for _ in range(depth):
        content = {"epoch": 3, key: content, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": []}}
    check_same(read_weights(pack(content)))


@pytest.mark.parametrize(
    "beside",
    [
        {"best_acc1": torch.tensor(75.0), "epoch": 3},
        {"model_ema": {"n_averaged": torch.tensor(1), "module.conv.weight": torch.zeros(1)}},
        {"state_dict_ema": {name: tensor + 1 for name, tensor in STATE.items()}},
        {"callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(1.0)}}, "hyper_parameters": {"lr": 0.1}},
        {"optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}], "lr_schedulers": [{}]},
        {"ema": None, "scaler": {"scale": 65536.0}, "teacher": {}},
    ],
)
def test_the_weights_that_were_trained_are_taken(beside: dict[str, object]) -> None:
    for key in ("state_dict", "model"):
        check_same(read_weights(pack({**beside, key: STATE})))
        check_same(read_weights(pack({key: STATE, **beside})))


def test_what_several_sets_are_is_told() -> None:
    with pytest.raises(ValueError, match="several sets of weights, depth, rgb: save one of them alone"):
        read_weights(pack({"rgb": STATE, "depth": STATE}))


@pytest.mark.parametrize(("trained", "following"), [("encoder_q", "encoder_k"), ("online", "target"), ("g", "g_ema")])
def test_of_sets_whose_names_tell_the_trained_one_is_taken(trained: str, following: str) -> None:
    other = {name: tensor + 1 for name, tensor in STATE.items()}
    check_same(read_weights(pack({trained: STATE, following: other})))
    check_same(read_weights(pack({following: other, trained: STATE})))


PREFIXES = ["", "module.", "_orig_mod.", "model.", "net.", "backbone.", "module._orig_mod.", "model.module.a.b."]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("known", [True, False])
def test_what_stood_around_a_network_leaves_its_names(prefix: str, known: bool) -> None:
    """Whether the names are the network's own or others that are still to be converted."""
    wrapped = OrderedDict((prefix + name, tensor) for name, tensor in STATE.items())
    expected = {name if known else f"other.{i}" for i, name in enumerate(STATE)}
    wanted = dict(STATE)
    if not known:
        del wanted["bn.num_batches_tracked"]
    check_same(clean_names(wrapped, expected), wanted)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda net: nn.DataParallel(torch.compile(net))])
def test_wrappers_within_a_network_leave_its_names(wrap: Callable[[nn.Module], nn.Module]) -> None:
    net = nn.Sequential(
        OrderedDict(features=nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), head=nn.Linear(2, 3))
    )
    plain = net.state_dict()
    net.features = wrap(net.features)
    found = clean_names(read_weights(pack(wrap(net).state_dict())), plain.keys())
    check_same(found, plain)
    assert {*found._metadata} >= {*plain._metadata}  # type: ignore[attr-defined]


def test_a_network_keeps_its_own_wrappers() -> None:
    mine = OrderedDict((f"module.{name}", tensor) for name, tensor in STATE.items())
    check_same(clean_names(mine, mine.keys()), mine)
    check_same(clean_names(OrderedDict((f"net.{name}", tensor) for name, tensor in mine.items()), mine.keys()), mine)


@pytest.mark.parametrize(
    "extra", ["criterion.weight", "n_averaged", "loss.scale", "metric.correct", "teacher.conv.weight"]
)
def test_a_network_is_found_in_a_larger_one(extra: str) -> None:
    larger = OrderedDict({extra: torch.zeros(2), **{f"net.{name}": tensor for name, tensor in STATE.items()}})
    check_same(clean_names(larger, STATE.keys()))


def test_what_networks_make_for_themselves_is_left_out() -> None:
    extras = ["attn_mask", "relative_position_index", "relative_coords_table", "num_batches_tracked"]
    more = OrderedDict({**STATE, **{f"layer.{name}": torch.zeros(2) for name in extras}})
    check_same(clean_names(more, STATE.keys()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float32, torch.float8_e5m2])
def test_precision_is_single(dtype: torch.dtype) -> None:
    found = read_weights(pack({"a.weight": torch.ones(3, dtype=dtype), "a.count": torch.ones(3, dtype=torch.int64)}))
    assert [tensor.dtype for tensor in found.values()] == [torch.float32, torch.int64]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["sparse_coo", "sparse_csr", "qint8", "int8", "uint8", "int64", "bool", "complex64"])
def test_a_networks_weights_are_dense_numbers_with_decimals(kind: str) -> None:
    weight, makers = STATE["head.weight"], {"sparse_coo": Tensor.to_sparse, "sparse_csr": Tensor.to_sparse_csr}
    makers["qint8"] = lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)
    odd = makers[kind](weight) if kind in makers else weight.abs().to(getattr(torch, kind))
    with pytest.raises(ValueError, match=f"^it holds head.weight as {kind}: weights are dense tensors of floating"):
        clean_names(OrderedDict(STATE | {"head.weight": odd}), STATE.keys())
    more = OrderedDict(
        {f"net.{name}": tensor for name, tensor in STATE.items()} | {"metric.count": torch.zeros(1).int()}
    )
    check_same(clean_names(more, STATE.keys()))


@settings(max_examples=30)
@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_no_plain_value_has_weights(content: object) -> None:
    assert not find_weights(content)


def test_what_holds_itself_has_an_end() -> None:
    content: dict[str, object] = {}
    content["model"] = content
    assert not find_weights(content)


#: What people keep beside their weights.
PLAIN = [
    argparse.Namespace(lr=0.1, path=pathlib.Path("x")),
    types.SimpleNamespace(a=[1]),
    collections.defaultdict(list, {"a": [1]}),
    collections.Counter("aa"),
    collections.deque([1, 2], maxlen=3),
    OrderedDict(a=1),
    pathlib.PurePosixPath("a/b"),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    {1, 2},
    frozenset({1}),
    complex(1, 2),
    slice(1),
    b"bytes",
    Decimal("1.5"),
    uuid.UUID(int=5),
    np.float64(1.5),
    np.int32(3),
    np.arange(3),
    np.dtype("f4"),
    torch.Size([1]),
    torch.float32,
    torch.device("cpu"),
    2**70,
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_plain_values_beside_the_weights_are_passed_over(value: object, options: dict[str, bool]) -> None:
    check_same(read_weights(pack({"args": value, "model": STATE, "more": {"deep": [value]}}, **options)))


class Call:
    """Calls something where it is unpickled."""

    def __init__(self, call: Callable[..., object], *values: object) -> None:
        self.call, self.values = call, values

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.values


class Own:
    """A class of somebody's."""


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Own(), "tests.networks.test_weight_files.Own"),
        (NET, r"torch.nn.modules.container.Sequential"),
        (Call(os.system, "touch {trace}"), "posix.system"),
        (Call(eval, "open({trace!r}, 'w')"), "eval"),
        (Call(open, "{trace}", "w"), "open"),
        (Call(getattr, 1, "system"), "getattr"),
        (Call(argparse.FileType, "w"), "argparse.FileType"),
        (Call(pathlib.Path.touch, pathlib.Path("x")), "getattr|pathlib.Path.touch"),
        (np.load, "numpy.load"),
    ],
)
def test_what_could_run_code_is_named_and_not_run(value: object, name: str, tmp_path: pathlib.Path) -> None:
    trace = tmp_path / "trace"
    if isinstance(value, Call):
        value = Call(value.call, *(v.format(trace=str(trace)) if isinstance(v, str) else v for v in value.values))
    with pytest.raises(
        ValueError, match=rf"besides weights it contains a (builtins\.|io\.)?({name}), .* save the state dict alone"
    ):
        read_weights(pack({"args": value, "model": STATE}))
    assert not trace.exists()


def make_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("x"))
    return buffer.getvalue()


def make_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/weights.npy", b"x")
    return buffer.getvalue()


def make_program() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(1, 1), torch.zeros(1, 1)), buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


SAFE = safetensors.torch.save(dict(STATE))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"\xef\xbb\xbf<HTML>", "it is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (make_tar(), "it is an archive"),
        (b"\x1f\x8b\x08" + bytes(30), "it is an archive"),
        (b"\xfd7zXZ\x00" + bytes(30), "it is an archive"),
        (make_zip(), "it is a zip archive without tensors"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (make_program(), "it is a program of TorchScript: save the state dict alone"),
        (pack(STATE)[:-100], "it is cut off or damaged"),
        (pack(STATE)[:100], "it is cut off or damaged"),
        (pack(STATE, _use_new_zipfile_serialization=False)[:-100], "it (is cut off|contains no weights)"),
        (SAFE[:-1], "it contains no "),
        (SAFE[:8] + b"{" + b"x" * (len(SAFE) - 9), "it contains no safetensors that can be read"),
        (b"text", "it contains no weights that torch can load"),
        (bytes(1000), "it contains no weights that torch can load"),
        (pickle.dumps({"a": 1}), "it contains no weights"),
        (pack([1]), "no weights .tensors by name., only a list"),
        (pack(torch.zeros(3)), "no weights .tensors by name., only a Tensor"),
        (pack({}), "no weights .tensors by name., only a "),
        (pack({"epoch": 3, "args": "x"}), "no weights .tensors by name., only epoch, args"),
        (pack({3: torch.zeros(1)}), "no weights .tensors by name., only 3"),
        (pack({"a.weight": torch.zeros(3, device="meta")}), "does not contain the values of a.weight"),
        (pack({"a.weight": torch.tensor([0.0, torch.nan])}), "values of a.weight that are not finite"),
        (pack({"a.weight": torch.tensor([torch.inf], dtype=torch.float16)}), "values of a.weight that are not finite"),
        (pack({"a.weight": torch.tensor([1e300], dtype=torch.float64)}), "values of a.weight that are not finite"),
    ],
)
def test_what_is_no_weights_is_told_in_one_line(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^[^\n]*{message}[^\n]*$"):
        read_weights(content)


def test_safetensors_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    check_same(read_weights(SAFE))
    monkeypatch.setattr("convnext_path.networks.weight_files.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="it contains safetensors; to read them: pip install safetensors"):
        read_weights(SAFE)


@given(st.binary(max_size=400))
def test_any_bytes_are_explained(content: bytes) -> None:
    assert "\n" not in explain(content, EOFError())
