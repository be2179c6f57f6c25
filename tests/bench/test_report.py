import json
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from ablations.bench import networks
from ablations.bench.networks import PHASES
from ablations.bench.report import choose_best, draw_times
from ablations.bench.steps import STEPS, InferenceStep
from convnext_path.networks.peer_names import PACKAGES
from tests.bench.conftest import make_row, run_bench


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_peers")
def test_a_benchmark_from_nothing_to_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_bench(tmp_path / "new" / "bench", "--compile") == 0
    out = capsys.readouterr().out
    assert "layer_norm, bf16, inference: " in out
    assert all(f" {peer}" in out for peer in PACKAGES)
    assert "…" not in out
    folder = tmp_path / "new" / "bench"
    assert sorted(p.name for p in folder.iterdir()) == ["bench.json", "results.csv", "times.png", "times.svg"]
    head = json.loads((folder / "bench.json").read_text())
    assert head["terms"]["rungs"] == ["resnet", "layer_norm"]
    assert {"torch", "timm", "torchvision", "processor", "threads", "device", "commit"} <= set(head["here"])
    table = pd.read_csv(folder / "results.csv")
    ours, peers = [("ours", w) for w in networks.WAYS[1:]], [(p, w) for p in PACKAGES for w in networks.WAYS]
    for (rung, *_), rows in table.groupby(["rung", "precision", "task"]):
        entrants = ours + [("stock", "channels_last")] + (peers if rung == "resnet" else [])
        assert list(zip(rows["source"], rows["way"], strict=True)) == entrants
    assert len(table.groupby(["rung", "precision", "task"])) == 2 * 2 * 2
    assert (table[["images_per_second", "low", "high", "peak_memory", "matrix_rate", "fraction"]] > 0).all(axis=None)
    trained = table[(table["source"] == "ours") & (table["task"] == "training")]
    assert trained[[f"{phase}_share" for phase in PHASES]].sum(axis=1).to_list() == pytest.approx([1.0] * 8, abs=1e-5)


def test_what_was_measured_before_memory_ran_out_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hungry(InferenceStep):
        made = count(1)

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            if next(self.made) == 5:
                raise torch.OutOfMemoryError("at length\nof memory")

    monkeypatch.setitem(STEPS, "inference", Hungry)
    with pytest.raises(SystemExit, match="2"):
        run_bench(tmp_path, "--against", "none")
    streams = capsys.readouterr()
    assert streams.err == (
        "error: layer_norm, fp32, inference: a batch of 4 at 32 px does not fit into memory; lower --batch-size; "
        f"the measurements so far are in {tmp_path}\n"
    )
    kept = pd.read_csv(tmp_path / "results.csv")
    assert list(kept["rung"]) == ["resnet"] * 8 + ["layer_norm"] * 2
    assert (tmp_path / "times.png").exists()


def test_ctrl_c_keeps_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(InferenceStep, "__call__", stop)
    assert run_bench(tmp_path) == 130
    assert f"stopped; the measurements so far are in {tmp_path}" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "results.csv")) == 2


def test_the_best_way_of_each_source() -> None:
    rows = [make_row(source="timm", images_per_second=rate) for rate in (3.0, 9.0, 5.0)]
    assert choose_best([make_row(), *rows]) == {"ours": make_row(), "timm": rows[1]}


def test_the_line_goes_from_the_origin_through_the_first_rung() -> None:
    rows = [make_row(rung=name, macs=macs) for name, macs in (("resnet", 10**9), ("gelu", 2 * 10**9))]
    figure = draw_times([*rows, make_row(source="timm")], "$x^2$")
    line, *_ = figure.axes[0].get_lines()
    assert (line.get_xy1(), line.get_xy2()) == ((0, 0), (10**9, 20.0))  # type: ignore[attr-defined]
    legend = figure.axes[0].get_legend()
    assert legend
    assert [text.get_text() for text in legend.get_texts()] == ["\u20071  resnet", "\u20072  gelu"]


@pytest.mark.parametrize("name", ["results.csv", "bench.json", "study.json", "notes.md", ".gitignore"])
@pytest.mark.parametrize("more", [(), ("--overhead",), ("--scaling",)])
def test_files_of_others_are_left_alone(
    name: str, more: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        run_bench(tmp_path, *more)
    assert "is not empty and contains no benchmark; choose another --out" in capsys.readouterr().err
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]
