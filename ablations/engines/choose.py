"""Where a study's trials run, from the options: how many at a time, on which engine, with how many readers."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from ablations.engines.distributed import Team
from ablations.engines.ray import Cluster, Share
from ablations.engines.scheduler import Local, Terms, default_loader_workers, default_workers
from ablations.study.folder import StudyFolder
from ablations.study.locks import DRIVER
from ablations.study.origin import Origin
from ablations.study.trial import Plan
from ablations.training.status import Wanted
from ablations.training.trainer import count_processes, find_device
from convnext_path.frozen import above, choose

ENGINES = ("local", "ray")


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


@contextmanager
def choose_terms(plan: Plan, study: StudyFolder, args: Any, team: Team | None, here: Origin) -> Iterator[Terms]:
    """Where trials run, how many at a time, and how many processes read a trial's images."""
    workers, readers = args.workers, args.loader_workers
    if args.engine.name == "local":
        cores = len(os.sched_getaffinity(0)) if team else torch.get_num_threads()  # torchrun says one thread
        workers, readers = share_cores(plan, 1 if team else workers, readers, cores)
        yield Terms(Wanted(here, args.keep, args.strict), loader_workers=readers, engine=Local(workers, team=team))
        return
    devices, _ = count_processes(plan.trials()[0])
    threads = plan.threads * devices
    with Cluster(args.engine.address, math.inf if workers == "auto" else workers) as cluster:
        uses = Share(threads, 0 if args.trainer.accelerator == "cpu" else devices)
        cluster.reserve(args.engine.cpus, args.engine.gpus, uses)
        if readers is None:
            readers = default_loader_workers(plan.data, (int(cluster.share.cpus) - threads) // devices)
        there = cluster.check(plan, study.folder / DRIVER)
        yield Terms(Wanted(there, args.keep, args.strict), loader_workers=readers, engine=cluster)


def check_engine(engine: Any, devices: int, nodes: int, team: Team | None) -> None:
    """Refuse what no engine does. Raises a ValueError."""
    choose("--engine", engine.name, ENGINES)
    given = [f"--engine.{name}" for name in ("address", "cpus", "gpus") if getattr(engine, name) is not None]
    if engine.name == "local" and given:
        raise ValueError(f"{given[0]} is --engine ray's")
    for name in ("cpus", "gpus"):
        if (value := getattr(engine, name)) is not None:
            above(f"--engine.{name}", value, 0)
    if devices > 1 and engine.gpus is not None and engine.gpus != devices:
        raise ValueError(f"--engine.gpus {engine.gpus:g} beside --trainer.devices {devices}: each process takes a GPU")
    if nodes > 1 and not team:
        raise ValueError(f"--trainer.num_nodes {nodes} takes torchrun or srun to start the processes on each node")
    if team and team.rank.size != devices * nodes:
        raise ValueError(
            f"{team.rank.size} processes were started by torchrun or srun; a trial takes {devices} x {nodes} "
            "(--trainer.devices x .num_nodes)"
        )
