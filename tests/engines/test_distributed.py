"""Drivers that torchrun or srun start, beside one that starts a trial's processes itself."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ablations.engines.distributed import dump_job, find_rank, load_job
from ablations.engines.local import Job
from ablations.study.folder import StudyFolder
from ablations.study.trial import Trial
from ablations.training.ranks import Rank, find_port
from tests.conftest import COST, SMALL, run_small

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_JOB_ID": "40404",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_PROCID": "5",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NODELIST": "node[0-1]",
}
TWO = ["--trainer.accelerator", "cpu", "--trainer.devices", "2"]


def test_where_a_driver_stands() -> None:
    assert find_rank({}) is None
    assert find_rank({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}) is None  # a batch script
    assert find_rank(TORCHRUN) == Rank(5, 8, 4, "node0", 29500)
    assert find_rank(SLURM) == Rank(5, 8, 4, "node0", 15000 + (31 * 40404 + 2) % 10000)
    assert find_rank(SLURM | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "77"}) == Rank(5, 8, 4, "10.0.0.1", 77)


def test_half_of_an_environment() -> None:
    with pytest.raises(ValueError, match="but 'WORLD_SIZE' is not in the environment"):
        find_rank({name: value for name, value in TORCHRUN.items() if name != "WORLD_SIZE"})


@pytest.mark.parametrize(("name", "value"), [("RANK", "x"), ("WORLD_SIZE", "-1"), ("MASTER_PORT", "")])
def test_a_variable_that_is_no_number_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^the environment's {name} takes a whole number, got {value!r}$"):
        find_rank({**TORCHRUN, name: value})
    with pytest.raises(ValueError, match="^the environment's SLURM_STEP_NUM_TASKS takes a whole number, got 'abc'$"):
        find_rank({"SLURM_STEP_NUM_TASKS": "abc"})


def test_a_job_travels_as_plain_values(trial: Trial, tmp_path: Path) -> None:
    for begin, keep in ((None, True), (tmp_path / "00001-x.ckpt", False)):
        job = Job(trial, COST, tmp_path, tmp_path / "checkpoints", begin, "offline", loader_workers=3, keep=keep)
        there = load_job(dump_job(job, 1234), Rank(1, 2, 2, "node0", 1))
        assert there.rank == Rank(1, 2, 2, "node0", 1234)
        assert (there.wandb, there.trial, there.cost) == ("disabled", job.trial, job.cost)
        assert (there.study, there.checkpoints, there.checkpoint) == (job.study, job.checkpoints, job.checkpoint)
        assert (there.loader_workers, there.keep) == (3, keep)


def start(number: int, port: int, *options: str, program: Sequence[str] = ("-m", "ablations")) -> subprocess.Popen[str]:
    """As srun would."""
    step = SLURM | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NODELIST": "127.0.0.1"}
    environment = os.environ | step | {"SLURM_PROCID": str(number), "MASTER_PORT": str(port)}
    command = [sys.executable, *program, "run", *SMALL, *options]
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.torture
def test_srun_and_torchrun_give_the_same_records(tmp_path: Path) -> None:
    studies = [tmp_path / name for name in ("here", "srun", "torchrun")]
    assert run_small(studies[0], *TWO) == 0
    port = find_port()
    drivers = [start(number, port, *TWO, "--study", str(studies[1])) for number in range(2)]
    outs = [driver.communicate(timeout=120)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], outs
    assert outs[1] == ""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "ablations", "run", *SMALL, *TWO, "--study", str(studies[2])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    outcomes = [[result.outcome for result in StudyFolder(study).results()] for study in studies]
    assert len(outcomes[0]) == 2
    assert outcomes[0] == outcomes[1] == outcomes[2]


#: A driver whose trials' processes find that something is missing on their node.
BROKEN = """
import sys
from ablations.engines import distributed
from ablations.engines.local import TrialProcess
from tests.engines.test_local import throw
distributed.GRACE = 1
distributed.TrialProcess = lambda job: TrialProcess(job, throw)
from ablations.__main__ import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.torture
def test_a_follower_that_fails_says_so_and_ends(tmp_path: Path) -> None:
    port, script = find_port(), tmp_path / "broken.py"
    script.write_text(BROKEN)
    options = [*TWO, "--study", str(tmp_path / "study")]
    with start(0, port, *options) as first, start(1, port, *options, program=[str(script)]) as second:
        out, _ = second.communicate(timeout=60)
        assert second.returncode == 1
        assert out.startswith("error: rank 1: MemoryError: too small a machine")
        first.kill()  # as torchrun does then, and srun --kill-on-bad-exit


@pytest.mark.slow
def test_another_number_of_processes_than_the_trials_take(tmp_path: Path) -> None:
    port = find_port()
    drivers = [start(number, port, "--study", str(tmp_path / "study")) for number in range(2)]
    outs = [driver.communicate(timeout=120)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [2, 0], outs
    assert outs[0].startswith("error: 2 processes were started by torchrun or srun; a trial needs 1 x 1 ")
    assert outs[0].count("\n") == 1
    assert not (tmp_path / "study").exists()
