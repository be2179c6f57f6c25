from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ablations.__main__ import main
from ablations.bench import networks
from ablations.bench.networks import Row, Setting
from convnext_path import LADDERS, PathNet
from tests.conftest import TINY

QUICK = ["--image-size", "32", "--batch-size", "4", "--repeats", "1", "--seconds", "0"]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny ladder; what is compiled is left as it is; a matrix product of a known rate."""
    monkeypatch.setitem(LADDERS, "tiny", tuple(replace(r, scale=TINY) for r in LADDERS["convnext-nano"]))
    monkeypatch.setattr(nn.Module, "compile", lambda net: None)
    monkeypatch.setattr(networks, "measure_matrix_rate", lambda device, dtype: 1e12)


@pytest.fixture
def tiny_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each peer has the tiny ladder's first network, and no other."""
    rung = LADDERS["tiny"][0]
    monkeypatch.setattr(networks, "find_twin", lambda r: "tiny" if r == rung else None)
    monkeypatch.setattr(networks, "make_peer", lambda package, name: PathNet(rung.flags, rung.scale))


def run_bench(folder: Path, *options: str) -> int:
    return main(["bench", "--ladder", "tiny", "--rungs", "resnet,layer_norm", "--out", str(folder), *QUICK, *options])


@pytest.fixture
def setting() -> Setting:
    rungs = LADDERS["tiny"][-1:]
    return Setting("tiny", rungs, (), "cpu", ("fp32",), 32, 4, repeats=1, seconds=0.0, compiled=False)


def make_row(**changes: Any) -> Row:
    row = Row("gelu", "fp32", "training", "ours", "channels_last", 10**9, 50.0, 40.0, 60.0, 2 * 10**9, 1e12)
    return replace(row, **changes)
