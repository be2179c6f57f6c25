import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ablations.__main__ import main
from ablations.analysis.stats import summarize
from ablations.analysis.tables import to_frame
from ablations.engines.local import Job, Message, train
from ablations.report.charts import plot_study
from ablations.study.folder import StudyFolder
from ablations.study.keeping import Mode
from ablations.study.trial import Plan, Result, Trial
from ablations.training.wandb_log import choose_mode, finish_run, send_result, send_summary, start_run
from tests.conftest import COST, fake_result


@pytest.fixture
def study(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    for name in ("DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "elsewhere"))
    study = StudyFolder(tmp_path / "study")
    study.begin(plan)
    return study


def train_here(study: StudyFolder, trial: Trial, mode: Mode) -> Result:
    """What a trial's process does, in this one."""
    sent: list[Message] = []
    train(Job(trial, COST, study.folder, study.folder / "checkpoints", wandb=mode), sent.append)
    result = sent[-1]
    assert isinstance(result, Result)
    study.save(result)
    return result


def read_runs(study: StudyFolder) -> list[dict[str, Any]]:
    """What the runs' files hold, merged over their records, as W&B's own reader tells it."""
    runs = []
    for file in sorted(study.folder.glob("wandb/*run-*/run-*.wandb")):
        command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(file)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        run: dict[str, Any] = next(r["run"] for r in records if r["type"] == "run")
        run["config"] = {
            k: v
            for r in records
            for k, v in (r.get("config") or r.get("run", {}).get("config", {})).get("update", {}).items()
        }
        run["history"] = [r["history"]["item"] for r in records if r["type"] == "history"]
        run["summary"] = {k: v for r in records if r["type"] == "summary" for k, v in r["summary"]["update"].items()}
        run["metrics"] = {r["metric"]["name"]: r["metric"] for r in records if r["type"] == "metric"}
        run["artifacts"] = [r["artifact"] for r in records if r["type"] == "artifact"]
        run["exit_code"] = next(r["exit"].get("exit_code", 0) for r in records if r["type"] == "exit")
        runs.append(run)
    return runs


def test_an_offline_run_holds_the_trial(study: StudyFolder, plan: Plan) -> None:
    trial = plan.trials()[1]
    result = train_here(study, trial, "offline")
    (run,) = read_runs(study)
    assert (run["run_group"], run["job_type"], run["display_name"]) == ("study", "layer_norm", "layer_norm-seed0")
    assert {"convnext-nano", "layer_norm", "digits", "seed0"} <= set(run["tags"])
    assert trial.flags.to_dict().items() <= run["config"].items()
    assert run["config"]["recipe"]["lr"] == trial.recipe.lr
    assert (run["config"]["trial"], run["config"]["seed"]) == (trial.id, 0)
    assert run["summary"]["top1"] == pytest.approx(result.top1)
    assert run["summary"]["macs"] == result.cost.paper_macs
    (item,) = run["history"]
    assert {"train/loss", "val/loss", "val/top1", "val/top5", "lr"} <= item.keys()
    assert (item["epoch"], item["images"]) == (1, 100)
    assert {"train/loss", "val/top1", "epoch", "images"} <= run["metrics"].keys()
    assert run["exit_code"] == 0


def test_the_summary_run_holds_table_charts_figures_and_files(study: StudyFolder, plan: Plan) -> None:
    steps = summarize(plan, [fake_result(trial, 80 + 5 * (trial.rung == "layer_norm")) for trial in plan.trials()])
    charts = plot_study(study.folder, "title", steps)
    send_summary(study, to_frame(steps), charts, "offline")
    (run,) = read_runs(study)
    assert (run["run_group"], run["job_type"]) == ("study", "summary")
    (item,) = run["history"]
    kinds = [item[f"{name}._type"] for name in ("results", "charts/accuracy", "charts/changes")]
    assert kinds == ["table-file", "image-file", "image-file"]
    assert item["results.nrows"] == 2
    assert run["summary"]["top1/layer_norm"] == 85.0
    assert run["summary"]["change/layer_norm"] == 5.0
    assert "study-results" in {artifact["name"] for artifact in run["artifacts"]}
    study.begin(replace(plan, seeds=(0, 1, 2)))
    assert send_summary(study, to_frame(steps), charts, "offline")
    (again,) = read_runs(study)
    assert again["run_id"] == run["run_id"]


def test_a_study_sent_again_replaces_itself(
    study: StudyFolder, plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = train_here(study, plan.trials()[0], "offline")
    (watched,) = read_runs(study)
    for trial in plan.trials()[1:]:
        study.save(fake_result(trial))
    for _ in range(2):
        assert main(["wandb", str(study.folder), "--mode", "offline"]) == 0
        assert "send with: wandb sync" in capsys.readouterr().out
        runs = {run["display_name"]: run for run in read_runs(study)}
        assert len(runs) == len(read_runs(study)) == 5
        again = runs["recipe-seed0"]
        for name in ("run_id", "run_group", "job_type", "tags", "config", "history"):
            assert strip_times(again[name]) == strip_times(watched[name])
        assert again["summary"]["top1"] == pytest.approx(live.top1)
        assert [len(run["history"]) for name, run in sorted(runs.items())] == [2, 2, 1, 2, 1]


def strip_times(value: Any) -> Any:
    """A run's content without what W&B adds of its own: names with an underscore."""
    if isinstance(value, list):
        return [strip_times(item) for item in value]
    return {k: v for k, v in value.items() if not k.startswith("_")} if isinstance(value, dict) else value


def test_disabled_leaves_nothing(study: StudyFolder, plan: Plan) -> None:
    trial = plan.trials()[0]
    train_here(study, trial, "disabled")
    send_summary(study, to_frame([]), [], "disabled")
    assert not (study.folder / "wandb").exists()


@pytest.mark.parametrize("method", ["_start", "log", "finish"])
def test_a_failing_logger_costs_no_trial(
    study: StudyFolder, plan: Plan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    import wandb

    from ablations.training import wandb_log

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("the server is on fire")

    if method == "_start":
        monkeypatch.setattr(wandb_log, "_start", fail)
    else:
        monkeypatch.setattr(wandb.Run, method, fail)
    trial = replace(plan.trials()[0], seed=4)
    study.begin(replace(plan, seeds=(4,)))
    with caplog.at_level(logging.WARNING):
        train_here(study, trial, "offline")
    assert [result.trial for result in study.results()] == [trial]
    assert "the server is on fire" in caplog.text
    monkeypatch.undo()
    wandb.teardown()


def test_a_failed_trial_is_marked(study: StudyFolder, plan: Plan) -> None:
    finish_run(start_run(study, plan.trials()[0], "offline"), None)
    (run,) = read_runs(study)
    assert run["exit_code"] == 1


class Once(BaseHTTPRequestHandler):
    """W&B's server as far as a run needs it to start; then it dies."""

    def do_GET(self) -> None:
        self.send_error(404)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        bucket = {"id": "b", "name": "n", "project": {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}}
        body = json.dumps({"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        Thread(target=self.server.shutdown).start()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    """A server that W&B's settings name, a key for it, and none of the user's own settings."""
    import wandb

    wandb.teardown()  # W&B reads the environment once
    server = ThreadingHTTPServer(("127.0.0.1", 0), Once)
    thread = Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    wandb.teardown()


def test_online_where_the_server_answers(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_mode("online") == "online"
    monkeypatch.setattr("ablations.training.wandb_log.find_obstacle", None)  # not asked
    assert choose_mode("offline") == "offline"
    assert choose_mode("disabled") == "disabled"


@pytest.mark.parametrize("kind", ["silent", "closed", "unknown", "malformed"])
def test_offline_where_the_server_does_not_answer(
    kind: str, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if kind == "closed":
            silent.close()
        hosts = {"unknown": "http://nowhere.invalid", "malformed": "nowhere"}
        monkeypatch.setenv("WANDB_BASE_URL", hosts.get(kind, f"http://127.0.0.1:{port}"))
        start = time.monotonic()
        assert choose_mode("online") == "offline"
        assert time.monotonic() - start < 30  # three seconds, and a busy machine
    (line,) = caplog.messages
    assert "W&B: " in line
    assert "; logging offline, send later with wandb sync" in line
    assert kind == "malformed" or "does not answer" in line
    assert 40 * "a" not in line


def test_offline_without_a_key(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    assert choose_mode("online") == "offline"
    (line,) = caplog.messages
    assert "no API key for http://127.0.0.1" in line
    file = tmp_path / "netrc"
    file.write_text(f"machine 127.0.0.1:{server.server_port} login user password {40 * 'a'}\n")
    file.chmod(0o600)
    assert choose_mode("online") == "online"


@pytest.mark.parametrize("key", [None, 40 * "a"])
def test_secrets_of_an_address_are_not_logged(
    key: str | None, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://user:hunter2@127.0.0.1:1")
    if key is None:
        monkeypatch.delenv("WANDB_API_KEY")
    assert choose_mode("online") == "offline"
    assert "http://***@127.0.0.1:1" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.slow
def test_a_server_that_dies_costs_nothing(server: ThreadingHTTPServer, study: StudyFolder, plan: Plan) -> None:
    import wandb

    trial = plan.trials()[0]
    start = time.monotonic()
    result = train_here(study, trial, "online")
    assert time.monotonic() - start < 60
    wandb.teardown()  # its process writes what is left
    assert [kept.trial for kept in study.results()] == [trial]
    (run,) = read_runs(study)
    assert run["display_name"] == "recipe-seed0"
    assert run["summary"]["top1"] == pytest.approx(result.top1)
    assert any("val/loss" in item for item in run["history"])


def test_names_that_are_no_text_are_sent_as_text(tmp_path: Path, plan: Plan, study: StudyFolder) -> None:
    name = "caf\udce9\n" + "x" * 80
    odd = replace(plan, rungs=tuple(replace(r, name=f"{r.name}{name}", title=name) for r in plan.rungs))
    beside = StudyFolder(tmp_path / "odd")
    beside.begin(odd)
    for trial in odd.trials():
        beside.save(fake_result(trial))
    result = beside.results()[0]
    assert send_result(beside, result, "offline")
    table = to_frame(summarize(odd, beside.results()))
    assert send_summary(beside, table, [], "offline")
    runs = read_runs(beside)
    shown = f"recipecaf\\xe9\\n{'x' * 80}"
    assert {run["display_name"] for run in runs} == {f"{shown}-seed0", "odd-summary"}
