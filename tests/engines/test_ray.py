import math
import os
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.engines import ray as ray_engine
from ablations.engines.ray import Share, choose_share, connect, is_loopback
from ablations.study.folder import StudyFolder
from tests.conftest import run_small

HALVES = st.integers(1, 16).map(lambda n: n / 4)


@given(cpus=HALVES, gpus=st.sampled_from([0, 0.25, 0.3, 0.4, 0.5, 1, 2]), there=st.tuples(HALVES, st.integers(0, 8)))
def test_a_share_fits_as_often_as_all_of_it_is_there(cpus: float, gpus: float, there: tuple[float, int]) -> None:
    """Shares of a GPU are placed one by one, each on the first that has room, as Ray places them."""
    room, cores, count = [1.0] * there[1], there[0], 0
    while cores >= cpus and (places := find_places(room, gpus)) is not None:
        for place in places:
            room[place] -= min(gpus, 1)
        cores, count = cores - cpus, count + 1
    assert Share(cpus, gpus).fits({"CPU": there[0], "GPU": there[1]}) == count


def find_places(room: list[float], gpus: float) -> list[int] | None:
    """GPUs with room for a share, or for as many whole ones; None where there are too few."""
    places = [i for i, left in enumerate(room) if left >= min(gpus, 1) - 1e-9][: math.ceil(gpus)]
    return places if len(places) == math.ceil(gpus) else None


def test_what_a_trial_takes_if_it_is_not_said() -> None:
    gpus, cores = {"CPU": 64.0, "GPU": 8.0}, {"CPU": 16.0}
    assert choose_share([cores], None, None, Share(1, 1)) == Share(1, 0)
    assert choose_share([cores, gpus], None, None, Share(1, 1)) == Share(8, 1)
    assert choose_share([gpus], None, None, Share(2, 2)) == Share(16, 2)
    assert choose_share([gpus, {"CPU": 12.0, "GPU": 2.0}], None, 0.25, Share(1, 1)) == Share(1, 0.25)
    assert choose_share([gpus], 3, 0.5, Share(1, 1)) == Share(3, 0.5)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:6379", True),
        ("localhost:6379", True),
        ("[::1]:6379", True),
        ("10.0.0.1:6379", False),
        ("head:1", False),
    ],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) == loopback


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match="--engine ray needs Ray: pip install"):
        connect(None)


def test_another_machine_is_not_trusted_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nowhere")
    with pytest.raises(ValueError, match="10.0.0.1:6379 is another machine, and there is no token for it"):
        connect("10.0.0.1:6379")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ValueError, match="RAY_AUTH_MODE is disabled"):
        connect(None)


#: Starts a cluster of our own and prints where its processes, and we, can be reached.
LISTEN = """
import psutil
from ablations.engines.ray import connect
if __name__ == "__main__":
    ray = connect(None)
    ray.get(ray.remote(lambda: 1).remote())
    us = psutil.Process()
    processes = [us, *us.children(recursive=True)]
    print(*{c.laddr.ip for p in processes for c in p.net_connections("tcp") if c.status == "LISTEN"})
"""


@pytest.mark.slow
def test_a_cluster_of_our_own_is_reached_from_this_machine_alone(tmp_path: Path) -> None:
    script = tmp_path / "listen.py"
    script.write_text(LISTEN)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    addresses = {ip_address(text.removeprefix("::ffff:")) for text in done.stdout.split()}
    assert addresses
    assert all(address.is_loopback for address in addresses)


@pytest.mark.torture
def test_the_records_are_those_of_one_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_small(tmp_path / "local") == 0
    assert run_small(tmp_path / "ray", "--engine", "ray", "--engine.cpus", "0.5") == 0
    outcomes = [[result.outcome for result in StudyFolder(tmp_path / name).results()] for name in ("local", "ray")]
    assert len(outcomes[0]) == 2
    assert outcomes[0] == outcomes[1]


@pytest.mark.torture
def test_a_study_that_a_node_does_not_see(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the driver reads in it is nowhere to be read by a task."""
    monkeypatch.setattr(ray_engine, "read", lambda file: "on this node alone")
    with pytest.raises(SystemExit, match="2"):
        run_small(tmp_path / "study", "--engine", "ray")
    error = capsys.readouterr().err
    assert f"does not see {tmp_path / 'study'}; all nodes must share a study's folder" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "study" / "trials").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine.gpus", "99"], "no node has 1 CPUs and 99 GPUs for a trial; the cluster has "),
        (["--engine.address", "127.0.0.1:1"], "no Ray cluster at --engine.address 127.0.0.1:1: "),
    ],
)
def test_what_there_is_not(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_small(tmp_path / "study", "--engine", "ray", *options)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "rey"], "unknown --engine 'rey' (did you mean ray?); allowed: local, ray"),
        (["--engine.gpus", "0.5"], "--engine.gpus works only with --engine ray"),
        (["--engine", "ray", "--engine.cpus", "0"], "--engine.cpus must be above 0"),
        (
            ["--engine", "ray", "--engine.gpus", "0.5", "--trainer.devices", "2", "--trainer.accelerator", "cpu"],
            "--engine.gpus 0.5 does not fit --trainer.devices 2: each process needs one GPU",
        ),
        (["--trainer.num_nodes", "2"], "--trainer.num_nodes 2 needs torchrun or srun"),
        (["--trainer.devices", "3", "--trainer.accelerator", "cpu"], "a batch of 64 cannot be shared by 3 processes"),
    ],
)
def test_bad_options(options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_small(tmp_path / "study", *options)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()
