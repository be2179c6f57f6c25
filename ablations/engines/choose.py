"""Where a study's trials run, from the options: how many at a time, on which engine, with how many readers."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import torch

from ablations.engines.distributed import Team
from ablations.engines.ray import Cluster, Share
from ablations.engines.resources import EngineOptions, Resources
from ablations.engines.scheduler import Local, Terms, default_loader_workers, default_workers
from ablations.study.folder import StudyFolder
from ablations.study.locks import DRIVER
from ablations.study.trial import Plan
from ablations.training.status import Wanted
from ablations.training.trainer import count_processes, find_device


def share_cores(plan: Plan, workers: int | Literal["auto"], readers: int | None, cores: int) -> tuple[int, int]:
    """Trials at a time on this machine, and processes that read the images of each, where they are not said."""
    trial = plan.trials()[0]
    devices, _ = count_processes(trial)
    threads = plan.threads * devices
    if workers == "auto":
        workers = default_workers(find_device(trial), cores, threads)
    if readers is None:
        readers = default_loader_workers(plan.data, (cores // workers - threads) // devices)
    return workers, readers


def share_machine(plan: Plan) -> int:
    """Trials at a time on this machine."""
    return share_cores(plan, "auto", 0, torch.get_num_threads())[0]


@contextmanager
def choose_terms(
    plan: Plan, folder: StudyFolder, resources: Resources, team: Team | None, wanted: Wanted
) -> Iterator[Terms]:
    """The engine that trials run on, how many at a time, and how many processes read a trial's images.

    Raises:
        ValueError: no such cluster, or none that serves.
    """
    workers, readers, engine = resources.workers, resources.loader_workers, resources.engine
    if engine.name == "local":
        cores = len(os.sched_getaffinity(0)) if team else torch.get_num_threads()  # torchrun says one thread
        workers, readers = share_cores(plan, 1 if team else workers, readers, cores)
        yield Terms(wanted, loader_workers=readers, engine=Local(workers, team=team))
        return
    devices, _ = count_processes(plan.trials()[0])
    threads = plan.threads * devices
    with Cluster(engine.address, math.inf if workers == "auto" else workers) as cluster:
        uses = Share(threads, 0 if dict(plan.trainer).get("accelerator") == "cpu" else devices)
        cluster.reserve(engine.cpus, engine.gpus, uses)
        if readers is None:
            readers = default_loader_workers(plan.data, (int(cluster.share.cpus) - threads) // devices)
        there = cluster.check(plan, folder.folder / DRIVER)
        yield Terms(replace(wanted, origin=there), loader_workers=readers, engine=cluster)


def check_processes(engine: EngineOptions, devices: int, nodes: int, team: Team | None) -> None:
    """Refuse what no engine does: ``devices`` of a trial on each of its ``nodes``. Raises a ValueError."""
    if devices > 1 and engine.gpus is not None and engine.gpus != devices:
        raise ValueError(
            f"--engine.gpus {engine.gpus:g} does not fit --trainer.devices {devices}: each process needs one GPU"
        )
    if nodes > 1 and not team:
        raise ValueError(f"--trainer.num_nodes {nodes} needs torchrun or srun to start the processes on each node")
    if team and team.rank.size != devices * nodes:
        raise ValueError(
            f"{team.rank.size} processes were started by torchrun or srun; a trial needs {devices} x {nodes} "
            "(--trainer.devices x .num_nodes)"
        )
