import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from ablations.__main__ import main
from ablations.bench import networks, overhead, report, timing
from ablations.bench.networks import PHASES, Case, Row, Setting, make_loader, measure_shares
from ablations.bench.overhead import Pair, measure_overhead, train_bare
from ablations.bench.peers import PEERS, TWINS, find_twin, make_peer
from ablations.bench.report import choose_best, draw_times
from ablations.bench.steps import STEPS, InferenceStep, TrainingStep
from ablations.bench.timing import find_quartiles, interleave, make_block, measure_memory
from ablations.run import run_trial
from ablations.trial import Plan, Trial
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


def run(folder: Path, *options: str) -> int:
    return main(["bench", "--ladder", "tiny", "--rungs", "resnet,layer_norm", "--out", str(folder), *QUICK, *options])


@pytest.fixture
def setting() -> Setting:
    rungs = LADDERS["tiny"][-1:]
    return Setting("tiny", rungs, (), "cpu", ("fp32",), 32, 4, repeats=1, seconds=0.0, compiled=False)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_peers")
def test_a_benchmark_from_nothing_to_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "new" / "bench", "--compile") == 0
    out = capsys.readouterr().out
    assert "layer_norm, bf16, inference: " in out
    assert "to timm" in out
    folder = tmp_path / "new" / "bench"
    assert sorted(p.name for p in folder.iterdir()) == ["bench.json", "results.csv", "times.png", "times.svg"]
    head = json.loads((folder / "bench.json").read_text())
    assert head["terms"]["rungs"] == ["resnet", "layer_norm"]
    assert {"torch", "timm", "torchvision", "processor", "threads", "device", "commit"} <= set(head["here"])
    table = pd.read_csv(folder / "results.csv")
    ours, peers = [("ours", w) for w in networks.WAYS[1:]], [(p, w) for p in PEERS for w in networks.WAYS]
    for (rung, _, task), rows in table.groupby(["rung", "precision", "task"]):
        stock = [("stock", "channels_last")] if (rung, task) == ("layer_norm", "training") else []
        entrants = ours + stock + (peers if rung == "resnet" else [])
        assert list(zip(rows["source"], rows["way"], strict=True)) == entrants
    assert len(table.groupby(["rung", "precision", "task"])) == 2 * 2 * 2
    assert (table[["images_per_second", "low", "high", "peak_memory", "matrix_rate", "fraction"]] > 0).all(axis=None)
    trained = table[(table["source"] == "ours") & (table["task"] == "training")]
    assert trained[[f"{phase}_share" for phase in PHASES]].sum(axis=1).to_list() == pytest.approx([1.0] * 8, abs=1e-5)


@pytest.mark.usefixtures("tiny_peers")
def test_what_cannot_be_compiled_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(images: torch.Tensor) -> None:
        raise RuntimeError("no compiler\nand more")

    monkeypatch.setattr(nn.Module, "compile", lambda net: setattr(net, "forward", fail))
    assert run(tmp_path, "--against", "timm,timm", "--precision", "fp32") == 0
    assert "resnet, fp32, training: timm compiled is left out: no compiler\n" in capsys.readouterr().out
    assert "compiled" not in set(pd.read_csv(tmp_path / "results.csv")["way"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ladder", "convnext-x"], "unknown ladder 'convnext-x' (did you mean convnext-t?)"),
        (["--rungs", "resnet,gelo"], "unknown rung 'gelo' (did you mean gelu?)"),
        (
            ["--against", "torchvison"],
            "unknown peer 'torchvison' (did you mean torchvision?); allowed: torchvision, timm",
        ),
        (["--against", "timm,"], "unknown peer ''"),
        (["--device", "cuda:77"], "unknown device of this machine 'cuda:77'"),
        (["--precision", "fp32,fp16"], "unknown precision 'fp16'"),
        (["--image-size", "31"], "--image-size for separate_downsampling must be between 32 and 4096, got 31"),
        (["--image-size", "4097"], "must be between 32 and 4096, got 4097"),
        (["--batch-size", "1"], "--batch-size must be between 2 and 65536, got 1"),
        (["--batch-size", "many"], "--batch-size"),
        (["--repeats", "0"], "--repeats must be between 1 and 1000, got 0"),
        (["--seconds", "-1"], "--seconds must be between 0 and 600, got -1.0"),
        (["--seconds", "nan"], "--seconds takes float, got 'nan'"),
        (["--out", "/dev/null/bench"], "Not a directory: '/dev/null/bench'"),
        (["--repeat", "3"], "unknown option --repeat; did you mean --repeats?"),
    ],
)
def test_bad_input_ends_with_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "bench", "--rungs", "separate_downsampling", *options)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_a_peer_that_is_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablations.bench.peers.find_spec", lambda name: None if name == "timm" else "there")
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path / "bench")
    assert capsys.readouterr().err == ("error: timm is not installed; pip install timm, or leave it out of --against\n")
    assert list(tmp_path.iterdir()) == []


def test_what_was_measured_before_memory_ran_out_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hungry(InferenceStep):
        made = count(1)

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            if next(self.made) == 3:
                raise torch.OutOfMemoryError("at length\nof memory")

    monkeypatch.setitem(STEPS, "inference", Hungry)
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "--against", "none")
    streams = capsys.readouterr()
    assert streams.err == (
        "error: layer_norm, fp32, inference: a batch of 4 at 32 px does not fit into memory; lower --batch-size; "
        f"what was measured is in {tmp_path}\n"
    )
    kept = pd.read_csv(tmp_path / "results.csv")
    assert list(kept["rung"]) == ["resnet"] * 4 + ["layer_norm"] * 2
    assert (tmp_path / "times.png").exists()


def test_a_batch_that_no_machine_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "--batch-size", "65536", "--image-size", "4096")
    assert "resnet, fp32, training: a batch of 65536 at 4096 px does not fit" in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError()])
def test_want_of_memory_has_many_names(error: Exception) -> None:
    assert networks.is_out_of_memory(error)


def test_other_errors_are_not_taken_for_want_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(TrainingStep, "forward", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run(tmp_path)


def test_ctrl_c_keeps_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(InferenceStep, "__call__", stop)
    assert run(tmp_path) == 130
    assert f"stopped; what was measured is in {tmp_path}" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "results.csv")) == 1


def test_contestants_take_turns() -> None:
    calls: list[str] = []

    def contestant(name: str) -> Callable[[], int]:
        def block() -> int:
            calls.append(name)
            return len(calls)

        return block

    assert interleave([contestant(name) for name in "abc"], 3) == [[1, 4, 7], [2, 5, 8], [3, 6, 9]]
    assert "".join(calls) == "abcabcabc"


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 1), (1e9, 10)])
def test_a_block_has_a_step_at_least(seconds: float, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ablations.bench.timing.time_steps", lambda step, number, device: 1e8 if number == 1 else number
    )
    assert make_block(lambda: None, seconds, CPU)() == (1e8 if steps == 1 else steps)


def test_the_rate_of_matrix_products_is_the_best_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([5.0, 2.0, *[4.0] * 8])
    monkeypatch.setattr(timing, "time_steps", lambda step, number, device: next(seconds))
    assert timing.measure_matrix_rate(CPU, torch.bfloat16) == 2048**3


def test_quartiles() -> None:
    assert find_quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == (2.0, 3.0, 4.0)


def make_row(**changes: Any) -> Row:
    row = Row("gelu", "fp32", "training", "ours", "channels_last", 10**9, 50.0, 40.0, 60.0, 2 * 10**9, 1e12)
    return replace(row, **changes)


def test_a_rows_arithmetic() -> None:
    assert make_row().milliseconds == 20.0
    assert make_row().fraction == pytest.approx(2 * 3 * 1e9 * 50 / 1e12)
    assert make_row(task="inference").fraction == pytest.approx(2 * 1e9 * 50 / 1e12)
    assert Row.from_dict(make_row(shares=(0.1, 0.2, 0.3, 0.4)).to_dict()).shares == (0.1, 0.2, 0.3, 0.4)


def test_the_best_way_of_each_source() -> None:
    rows = [make_row(source="timm", images_per_second=rate) for rate in (3.0, 9.0, 5.0)]
    assert choose_best([make_row(), *rows]) == {"ours": make_row(), "timm": rows[1]}


def test_the_line_goes_from_the_origin_through_the_first_rung() -> None:
    rows = [make_row(rung=name, macs=macs) for name, macs in (("resnet", 10**9), ("gelu", 2 * 10**9))]
    figure = draw_times([*rows, make_row(source="timm")], "$x^2$")
    line, *_ = figure.axes[0].get_lines()
    assert (line.get_xy1(), line.get_xy2()) == ((0, 0), (10**9, 20.0))  # type: ignore[attr-defined]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["\u20071  resnet", "\u20072  gelu"]


def test_rungs_that_have_twins() -> None:
    found = {(name, r.name): find_twin(r) for name, ladder in LADDERS.items() for r in ladder}
    assert {place: twin for place, twin in found.items() if twin} == {
        ("convnext-t", "resnet"): "resnet50",
        ("convnext-t", "separate_downsampling"): "convnext_tiny",
        ("convnext-b", "separate_downsampling"): "convnext_base",
    }


@pytest.mark.parametrize("package", PEERS)
@pytest.mark.parametrize(("key", "name"), TWINS.items(), ids=TWINS.values())
def test_twins_are_as_large(key: Any, name: str, package: str) -> None:
    flags, depths, width, layer_scale = key
    scale = replace(TINY, depths=depths, ratio_depths=depths, width=width, ratio_width=width, wide_width=width)
    with torch.device("meta"):
        ours, theirs = PathNet(flags, scale, layer_scale=1e-6 if layer_scale else None), make_peer(package, name)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert not any(getattr(m, "p", 0) or getattr(m, "drop_prob", 0) for m in theirs.modules())  # no chance in them


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_step_is_its_phases_and_learns(precision: networks.Precision) -> None:
    torch.manual_seed(0)
    rung = LADDERS["tiny"][0]
    step = TrainingStep(PathNet(rung.flags, rung.scale), torch.randn(8, 3, 32, 32), precision)
    step()
    first = step.loss.item()
    for _ in range(5):
        step.forward()
        step.backward()
        assert all(p.grad is not None for p in step.net.parameters())
        step.optimize()
    assert step.loss.item() < first
    assert all(p.grad is None and p.dtype == torch.float32 for p in step.net.parameters())
    parameters = sum(p.numel() for p in step.net.parameters())
    others = sum(b.numel() * b.element_size() for b in step.net.buffers()) + step.images.numel() * 4
    assert step.held_bytes() == 3 * 4 * parameters + others + 4 * len([*step.net.parameters()])  # a counter each


def test_inference_leaves_the_network_as_it_is() -> None:
    rung = LADDERS["tiny"][0]
    net = PathNet(rung.flags, rung.scale)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    InferenceStep(net, torch.randn(4, 3, 32, 32), "fp32")()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_shares_are_of_the_whole_step(setting: Setting) -> None:
    case = Case(setting, setting.rungs[0], "fp32", "training")
    images, labels = make_loader(case)()  # type: ignore[misc]
    assert (images.shape, images.dtype, labels.shape) == ((4, 3, 32, 32), torch.float32, (4,))
    step = networks.list_contestants(case)[0].make_step(case)
    assert isinstance(step, TrainingStep)
    assert sum(measure_shares(case, step)) == pytest.approx(1)


def test_memory_is_that_of_the_step_alone() -> None:
    there = torch.ones(50_000_000)
    added = measure_memory(lambda: torch.ones(25_000_000), CPU)
    assert 95e6 < added < 120e6  # pages of the allocator that were resident before are not counted
    del there


def test_a_bare_loop_trains_the_very_network(trial: Trial) -> None:
    trial = replace(trial, recipe=trial.recipe.with_epochs(2))
    assert train_bare(trial) == run_trial(trial).weights


@pytest.mark.slow
def test_overhead(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(plan, rungs=plan.rungs[:1], seeds=(0,))
    pairs = list(measure_overhead(plan, 1, "disabled"))
    assert [pair.overhead for pair in pairs] == [pairs[0].trial / pairs[0].bare - 1]
    monkeypatch.setattr(report, "measure_overhead", lambda plan, number: [Pair(3.0, 2.0), Pair(2.0, 2.0)])
    assert main(["bench", "--overhead", "--out", str(tmp_path)]) == 0
    assert "overhead of a trial: +25.0%, quartiles +12.5% and +37.5%" in capsys.readouterr().out
    assert list(pd.read_csv(tmp_path / "results.csv")["overhead"]) == [0.5, 0.0]


def test_the_plan_of_the_overhead_is_the_small_ladders_last_rung() -> None:
    (trial,) = overhead.PLAN.trials()
    assert (trial.rung, trial.scale, trial.data.name) == (
        "separate_downsampling",
        LADDERS["convnext-nano"][0].scale,
        "digits",
    )


def test_stock_convolutions_are_the_same_network_by_torchs_own() -> None:
    rung = LADDERS["tiny"][-1]
    net = PathNet(rung.flags, rung.scale)
    fused, count = sum(map(networks.is_fused, net.modules())), len(list(net.modules()))
    stock = networks.without_fused(net)
    assert fused == 5
    assert not any(map(networks.is_fused, stock.modules()))
    assert len(list(stock.modules())) == count
