"""Drivers that torchrun or srun started, one for each process of a trial: the first leads, the others follow."""

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Self

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from ablations.engines.local import Failure, Job, Lost, TrialProcess
from ablations.study.trial import Epoch, Trial
from ablations.training.ranks import Rank, find_port
from convnext_path import Cost
from convnext_path.frozen import show

TORCHRUN = "TORCHELASTIC_RUN_ID"  # in the environment that it makes
END = ""
FOREVER = timedelta(days=10_000)  # a follower waits as long as its leader lives: what started both ends both
GOODBYE = timedelta(seconds=10)
POLL, GRACE = 0.5, 30.0  # seconds between looks, and those in which the first driver may see a failure of its own


def find_rank(env: Mapping[str, str]) -> Rank | None:
    """Where this driver stands among those that torchrun or srun started; None where it was started alone.

    Raises:
        ValueError: they say less than they do.
    """
    try:
        return _find_rank(env)
    except KeyError as error:
        raise ValueError(
            f"this process seems started by torchrun or srun, but {error} is not in the environment"
        ) from None


def read_number(env: Mapping[str, str], name: str) -> int:
    """A variable that holds a whole number. Raises a KeyError where there is none, a ValueError for other text."""
    text = env[name]
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"the environment's {name} takes a whole number, got {show(text)}")
    return int(text)


def _find_rank(env: Mapping[str, str]) -> Rank | None:
    if TORCHRUN in env:
        number, size, local_size, port = (
            read_number(env, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
        )
        return Rank(number, size, local_size, env["MASTER_ADDR"], port)
    if "SLURM_STEP_NUM_TASKS" in env and read_number(env, "SLURM_STEP_NUM_TASKS") > 1:
        number, size, nodes, job, part = (
            read_number(env, f"SLURM_{name}")
            for name in ("PROCID", "STEP_NUM_TASKS", "STEP_NUM_NODES", "JOB_ID", "STEP_ID")
        )
        address = env.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(env["SLURM_STEP_NODELIST"])
        usual = 15_000 + (31 * job + part) % 10_000  # the same on all nodes
        port = read_number(env, "MASTER_PORT") if env.get("MASTER_PORT") else usual
        return Rank(number, size, size // nodes, address, port)
    return None


class Team:
    """Carries jobs from the first driver to those of the other ranks, as JSON in a store that all reach.

    torchrun has such a store; elsewhere the first driver opens one at its rank's address.
    """

    def __init__(self, rank: Rank) -> None:
        self.rank, self.jobs = rank, 0
        opens = rank.number == 0 and TORCHRUN not in os.environ
        try:
            store = TCPStore(rank.address, rank.port, is_master=opens, wait_for_workers=False)
        except RuntimeError as error:
            raise ValueError(f"{rank.size} processes cannot connect at {rank.address}:{rank.port}: {error}") from None
        self.store = PrefixStore(f"ablations/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Send the others home, and give them a moment to hear it."""
        with suppress(RuntimeError):  # some may be gone without a word
            self._send(END)
            self.store.wait([f"gone/{number}" for number in range(1, self.rank.size)], GOODBYE)

    def gather(self, job: Job) -> Job:
        """The job with our rank; the others hear of it."""
        rank = replace(self.rank, port=find_port())
        self._send(json.dumps(dump_job(job, rank.port)))
        return replace(job, rank=rank)

    def dismiss(self) -> None:
        """Tell the others that the last job is over, however it went."""
        with suppress(RuntimeError):
            self.store.set(f"over/{self.jobs - 1}", END)

    def _send(self, text: str) -> None:
        self.store.set(f"job/{self.jobs}", text)
        self.jobs += 1

    def follow(self) -> int:
        """Do each job beside the first driver, until there are no more; 1 where our part failed, or that driver has."""
        try:
            while text := self._hear():
                with TrialProcess(load_job(json.loads(text), self.rank)) as process:
                    if failure := self._accompany(process):
                        print(f"error: rank {self.rank.number}: {failure.summary}\n{failure.cause}", file=sys.stderr)
                        return 1  # and torchrun or srun ends the others
            self.store.set(f"gone/{self.rank.number}", END)
        except RuntimeError:
            return 1  # the first driver is gone
        return 0

    def _accompany(self, process: TrialProcess) -> Failure | None:
        """Wait until the first driver calls a trial over; a failure of our part that it does not notice ends that."""
        message, patience = None, GRACE
        while not self.store.check([f"over/{self.jobs - 1}"]):
            if message is None or isinstance(message, Epoch):
                message = process.receive() if wait(process.events, POLL) else None
            else:
                time.sleep(POLL)
            if isinstance(message, Lost):
                message = Failure(message.why, "")
            if isinstance(message, Failure) and (patience := patience - POLL) < 0:
                return message
        return None

    def _hear(self) -> str:
        key = f"job/{self.jobs}"
        self.store.wait([key], FOREVER)
        self.jobs += 1
        return str(self.store.get(key).decode())


def dump_job(job: Job, port: int) -> dict[str, Any]:
    """What others must know of a job, as plain values."""
    paths = {name: getattr(job, name) for name in ("study", "checkpoints", "checkpoint")}
    return {
        "trial": job.trial.to_dict(),
        "cost": job.cost.to_dict(),
        **{name: path and str(path.resolve()) for name, path in paths.items()},
        "loader_workers": job.loader_workers,
        "keep": job.keep,
        "port": port,
    }


def load_job(content: Mapping[str, Any], rank: Rank) -> Job:
    """The job as a process of ``rank`` does it."""
    return Job(
        Trial.from_dict(content["trial"]),
        Cost.from_dict(content["cost"]),
        Path(content["study"]),
        Path(content["checkpoints"]),
        Path(content["checkpoint"]) if content["checkpoint"] else None,
        loader_workers=content["loader_workers"],
        keep=content["keep"],
        rank=replace(rank, port=content["port"]),
    )
