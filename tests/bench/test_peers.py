from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ablations.bench.peers import TWINS, find_twin, make_peer
from convnext_path import LADDERS, PathNet
from convnext_path.networks.peer_names import PACKAGES
from tests.bench.conftest import run_bench
from tests.conftest import TINY


def test_a_peer_that_is_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablations.bench.peers.find_spec", lambda name: None if name == "timm" else "there")
    with pytest.raises(SystemExit, match="2"):
        run_bench(tmp_path / "bench")
    assert capsys.readouterr().err == ("error: timm is not installed; pip install timm, or leave it out of --against\n")
    assert list(tmp_path.iterdir()) == []


def test_rungs_that_have_twins() -> None:
    found = {(name, r.name): find_twin(r) for name, ladder in LADDERS.items() for r in ladder}
    assert {place: twin for place, twin in found.items() if twin} == {
        ("convnext-t", "resnet"): "resnet50",
        ("convnext-t", "separate_downsampling"): "convnext_tiny",
        ("convnext-b", "separate_downsampling"): "convnext_base",
    }


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(("key", "name"), TWINS.items(), ids=TWINS.values())
def test_twins_are_as_large(key: Any, name: str, package: str) -> None:
    flags, depths, width, layer_scale = key
    scale = replace(TINY, depths=depths, ratio_depths=depths, width=width, ratio_width=width, wide_width=width)
    with torch.device("meta"):
        ours, theirs = PathNet(flags, scale, layer_scale=1e-6 if layer_scale else None), make_peer(package, name)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert not any(getattr(m, "p", 0) or getattr(m, "drop_prob", 0) for m in theirs.modules())  # no chance in them
