from dataclasses import replace
from pathlib import Path

import pytest

from ablations.study.trial import Trial
from convnext_path.references import find_model, find_reference


def test_without_timm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("convnext_path.networks.peer_names.find_spec", lambda name: None if name == "timm" else name)
    with pytest.raises(ValueError, match="timm:resnet18 needs timm: pip install timm"):
        find_reference("timm:resnet18")


def test_where_a_file_lies_is_no_part_of_a_trial(tmp_path: Path, trial: Trial) -> None:
    (tmp_path / "there").mkdir()
    trials = []
    for file in (tmp_path / "w.pth", tmp_path / "there" / "w.pth"):
        file.write_bytes(b"weights")
        rung = find_model("resnet18", file=str(file))
        trials.append(replace(trial, flags=rung.flags, scale=rung.scale))
    assert trials[0].id == trials[1].id
    file.write_bytes(b"other weights")
    rung = find_model("resnet18", file=str(file))
    assert replace(trial, flags=rung.flags, scale=rung.scale).id != trials[0].id
