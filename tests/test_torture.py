"""Whole drivers, killed, doubled, starved of disk: minutes. ``make torture`` runs these, ``make test`` does not."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import psutil
import pytest

from ablations.study.folder import StudyFolder
from tests.conftest import start_driver, wait_until

pytestmark = pytest.mark.torture

RUNGS = ["--rungs", "resnet,recipe,layer_norm,separate_downsampling", "--seeds", "2"]
SMALL = [*RUNGS, "--epochs", "6", "--limit-train", "256", "--wandb", "disabled"]
TRIALS = 8
MEASURED = ("seconds", "images_per_second", "peak_memory", "environment", "digest")


def start(study: Path, *options: str, **more: Any) -> subprocess.Popen[str]:
    return start_driver(*SMALL, "--study", str(study), *options, **more)


def finish(study: Path, *options: str, **more: Any) -> tuple[int, str]:
    with start(study, *options, **more) as driver:
        out, _ = driver.communicate(timeout=300)
    return driver.returncode, out


def read_records(study: Path) -> dict[str, dict[str, Any]]:
    """Every record without what the clock and the memory say."""
    records = {file.name: json.loads(file.read_bytes()) for file in (study / "trials").iterdir()}
    return {name: {k: v for k, v in record.items() if k not in MEASURED} for name, record in records.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, trained without a break."""
    study = tmp_path_factory.mktemp("whole") / "study"
    code, out = finish(study)
    assert code == 0, out
    return study


def is_training(study: Path) -> bool:
    return any(study.glob("running/*/lock"))


def is_writing(study: Path) -> bool:
    return any(study.glob("running/*/*/.*")) or any(study.glob("trials/.*"))


@pytest.fixture
def other_disk() -> Iterator[str]:
    """A folder for temporary files on another file system, where there is one."""
    folder = Path("/dev/shm") / f"torture-{os.getpid()}"
    folder.mkdir()
    yield str(folder)
    subprocess.run(["rm", "-r", folder], check=True)


def test_killed_twenty_times(tmp_path: Path, whole: Path, other_disk: str) -> None:
    """Every second time in the middle of a write."""
    study, chance, in_writes, kills = tmp_path / "study", random.Random(0), 0, 0
    environment = os.environ | {"TMPDIR": other_disk}
    while kills < 20:
        with start(study, env=environment) as driver:
            assert wait_until(lambda: is_training(study) or driver.poll() is not None)
            if kills % 2:
                in_writes += wait_until(lambda: is_writing(study), 60, 0)
            else:
                time.sleep(chance.uniform(0.2, 3))
            driver.kill()
            if driver.wait() == 0:  # done before the twentieth kill: let it train the first half again
                for record in sorted((study / "trials").iterdir())[: TRIALS // 2]:
                    record.unlink()
                continue
        kills += 1
    assert in_writes > 5
    left = len(list((study / "trials").glob("[!.]*.json")))
    code, out = finish(study, env=environment)
    assert code == 0, out
    assert read_records(study) == read_records(whole)
    assert len(read_records(study)) == TRIALS
    assert StudyFolder(study).read()[1] == {}
    assert not any(study.rglob(".*"))
    assert not (study / "running").exists()
    print(f"\n20 kills, {in_writes} of them in a write; {left} records then, {TRIALS} equal ones in the end")


def find_server(driver: subprocess.Popen[str]) -> psutil.Process:
    """What trials' processes are forked from."""
    children = psutil.Process(driver.pid).children()
    return next(child for child in children if "multiprocessing.forkserver" in " ".join(child.cmdline()))


@pytest.mark.parametrize(("number", "server"), [(15, False), (9, False), (9, True)])
def test_trials_that_lose_their_process_go_on(number: int, server: bool, tmp_path: Path, whole: Path) -> None:
    """A trial's process, or the server under all, is ended from outside while they train."""
    study = tmp_path / "study"
    with start(study) as driver:
        assert wait_until(lambda: StudyFolder(study).checkpoints())
        victim = find_server(driver)
        (victim if server else victim.children()[0]).send_signal(number)
        out, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, out
    assert "tried again" in out
    assert read_records(study) == read_records(whole)
    assert "tried again" in StudyFolder(study).log_file.read_text()


def test_two_drivers_ten_times(tmp_path: Path, whole: Path) -> None:
    """Five that are sent away, five that help."""
    study, times = tmp_path / "study", []
    with start(study) as first:
        assert wait_until(lambda: is_training(study))
        for _ in range(5):
            begin = time.monotonic()
            code, out = finish(study)
            if first.poll() is None:
                times.append(time.monotonic() - begin)
                assert code == 2
                assert f"is being trained by process {first.pid} on" in out
        first.communicate()
    assert first.returncode == 0
    assert times
    helpers = 0
    for turn in range(5):
        study = tmp_path / f"study{turn}"
        with start(study, "--epochs", "3", "--workers", "1") as first:
            assert wait_until(lambda: (study / "study.json").exists())  # noqa: B023
            code, helped = finish(study, "--epochs", "3", "--workers", "1", "--join")
            led, _ = first.communicate()
        assert (code, first.returncode) == (0, 0), helped + led
        lines = [line.split("  ")[1].split(": ")[0] for line in (helped + led).splitlines() if ": top-1 " in line]
        assert len(lines) == len(set(lines)) == TRIALS, helped + led
        helpers += ": top-1 " in helped
    assert helpers
    assert not (study / "running").exists()
    print(f"\nsent away {len(times)} times in {max(times):.2f} s at most; helped in {helpers} of 5 studies")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a disk is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_and_one_that_cannot_be_written(disk: Path, whole: Path) -> None:
    study = disk / "study"
    subprocess.run(["cp", "-r", whole, study], check=True)
    (gone, *_), before = sorted((study / "trials").iterdir()), read_records(study)
    gone.unlink()
    code, out = finish(study)
    assert code == 1
    assert "No space left on device" in out
    assert "Traceback" not in out
    assert read_records(study) == {name: record for name, record in before.items() if name != gone.name}
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    code, out = finish(study)
    assert code == 2
    assert "Read-only file system" in out
    assert "Traceback" not in out
    subprocess.run(["mount", "-o", "remount,rw,size=200m", disk], check=True)
    assert finish(study)[0] == 0
    assert read_records(study) == before


#: Holds a head and two nodes of two logical GPUs each; takes a node away for each line that it reads.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=2, num_gpus=2) for _ in range(2)]
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
cluster.shutdown()
"""


class Cluster:
    """A cluster of three nodes on this machine, in a process of its own: Ray reads its token once, when imported."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen([sys.executable, "-c", CLUSTER], stdin=PIPE, stdout=PIPE, text=True)
        assert self._holder.stdout
        self.address = self._holder.stdout.readline().strip()

    def remove_node(self) -> None:
        assert self._holder.stdin
        self._holder.stdin.write("\n")
        self._holder.stdin.flush()

    def find_workers(self) -> list[psutil.Process]:
        """The processes in which a trial is at work."""
        ours = psutil.Process(self._holder.pid).children(recursive=True)
        return [process for process in ours if "ray::attend" in read_command(process)]

    def close(self) -> None:
        self._holder.communicate(timeout=60)


def read_command(process: psutil.Process) -> str:
    """Empty where it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """One that asks for a token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", 64 * "a")
    cluster = Cluster()
    yield cluster
    cluster.close()


def on_ray(address: str, study: Path) -> list[str]:
    return ["--study", str(study), "--engine", "ray", "--engine.address", address, "--engine.gpus", "1"]


LADDER = ["--seeds", "2", "--epochs", "2", "--limit-train", "512", "--wandb", "disabled"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small ladder with two seeds, trained on this machine."""
    study = tmp_path_factory.mktemp("local") / "study"
    with start_driver(*LADDER, "--study", str(study)) as driver:
        out, _ = driver.communicate(timeout=900)
    assert driver.returncode == 0, out
    return study


@pytest.mark.xdist_group("cluster")
def test_a_cluster_gives_the_records_of_one_machine(cluster: Cluster, local: Path, tmp_path: Path) -> None:
    with start_driver(*LADDER, *on_ray(cluster.address, tmp_path / "study")) as driver:
        out, _ = driver.communicate(timeout=900)
    assert driver.returncode == 0, out
    assert read_records(tmp_path / "study") == read_records(local)


@pytest.mark.xdist_group("cluster")
def test_a_node_removed_and_a_worker_killed(cluster: Cluster, local: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    with start_driver(*LADDER, *on_ray(cluster.address, study)) as driver:
        assert wait_until(lambda: len(list(study.glob("trials/[!.]*.json"))) >= 4, 300)
        cluster.find_workers()[0].kill()
        assert wait_until(lambda: len(list(study.glob("trials/[!.]*.json"))) >= 10, 300)
        cluster.remove_node()
        out, _ = driver.communicate(timeout=900)
    assert driver.returncode == 0, out
    assert out.count("lost (") >= 2, out
    done = [line.split("  ")[1].split(": ")[0] for line in out.splitlines() if ": top-1 " in line]
    assert len(done) == len(set(done)) == len(read_records(local))
    assert read_records(study) == read_records(local)
    assert not (study / "running").exists()
    assert cluster.find_workers() == []
