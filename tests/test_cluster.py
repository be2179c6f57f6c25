"""The batch script and the job file, as far as they can be tried without a cluster's scheduler."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ablations.cli.parser import make_run_parser

FOLDER = Path(__file__).parents[1] / "ablations" / "cluster"

#: What a scheduler would have: commands that take the same words and do them here.
COMMANDS = {
    "scontrol": 'test "$1 $2" = "show hostnames" && printf "127.0.0.1\\nother\\n"',
    "srun": 'test "$1 $3 $5" = "--ntasks --cpus-per-task --no-kill" && shift 5 && exec "$@"',
    "ray": 'test "$1" = symmetric-run && env | grep RAY_AUTH | sort && printf "%s\\n" "$@"',
}


def run_script(tmp_path: Path, *options: str) -> list[str]:
    """The batch script's lines of output, of a job of two nodes."""
    for name, body in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "SLURM_JOB_ID": "30123",
        "SLURM_JOB_NODELIST": "node[0-1]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_ON_NODE": "64",
    }
    command = ["bash", FOLDER / "slurm.sh", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_batch_script_starts_the_driver_in_a_cluster_with_a_token(tmp_path: Path) -> None:
    mode, token, *words = run_script(tmp_path, "--rungs", "recipe", "--study", "a folder")
    assert mode == "RAY_AUTH_MODE=token"
    assert len(token.removeprefix("RAY_AUTH_TOKEN=")) == 64
    assert token != run_script(tmp_path)[1]
    cluster, driver = words[: words.index("--")], words[words.index("--") + 1 :]
    meeting = ["--address", "127.0.0.1:15123", "--min-nodes", "2"]
    assert cluster == ["symmetric-run", *meeting, "--num-cpus", "64"]
    assert driver[:4] == ["python", "-m", "ablations", "run"]
    args = make_run_parser().parse_args(driver[4:])
    assert (args.engine.name, args.engine.address) == ("ray", "127.0.0.1:15123")
    assert (args.rungs, args.study) == ("recipe", "a folder")


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_the_batch_script_is_bash() -> None:
    subprocess.run(["bash", "-n", FOLDER / "slurm.sh"], check=True)


def test_the_job_files_command_is_one_of_ours() -> None:
    job = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "ablations", "run"]
    args = make_run_parser().parse_args(container["args"])
    assert (args.engine.name, args.engine.gpus, args.ladder) == ("ray", 1, "convnext-t")
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {volume["name"] for volume in pod["volumes"]} == mounts.keys()
    assert args.study.startswith(mounts["storage"])
    assert args.root.startswith(mounts["storage"])
