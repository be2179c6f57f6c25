"""Trials as tasks of a Ray cluster: an attempt is a task, which trains in a process of its own and tells how it goes.

The driver claims trials, finds their checkpoints and saves their records, as on one machine; the cluster's nodes see
the study's folder and the data under the same paths.
"""

import logging
import math
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from packaging.version import Version

from ablations.console import say
from ablations.engines.local import Job, Lost, Message, TrialProcess, Work, train
from ablations.study.origin import Origin
from ablations.study.trial import Epoch, Plan
from ablations.training.checks import check_plan
from convnext_path.files import read_text

#: What Ray reads from the environment: who has no token may not speak with what we start.
MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
ELSEWHERE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # where 0, on whatever system, all that Ray starts listens on loopback
OLDEST = "2.52"  # Ray that knows tokens
PATIENCE = 20  # seconds until it is said which node is waited for


@dataclass(frozen=True)
class Share:
    """What a trial takes of a node; a share of a GPU is a number below 1."""

    cpus: float = 1
    gpus: float = 0

    @property
    def options(self) -> dict[str, float]:
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}

    def fits(self, resources: Mapping[str, float]) -> int:
        """How often it is there; a share of a GPU lies on one."""
        cpus, gpus = int(resources.get("CPU", 0) / self.cpus + 1e-9), resources.get("GPU", 0)
        if not self.gpus:
            return cpus
        return min(cpus, int(gpus) * int(1 / self.gpus + 1e-9) if self.gpus < 1 else int(gpus / self.gpus))


def choose_share(nodes: Sequence[Mapping[str, float]], cpus: float | None, gpus: float | None, trial: Share) -> Share:
    """What a trial takes, if it is not said: its GPUs where there are some, and the cores that go with them.

    ``nodes``: the resources of each. ``trial``: threads and GPUs that it uses.
    """
    if gpus is None:
        gpus = trial.gpus if any("GPU" in node for node in nodes) else 0
    if cpus is None:
        fit = [(node, Share(1e-6, gpus).fits(node)) for node in nodes if gpus]
        cpus = max(trial.cpus, min((node["CPU"] // times for node, times in fit if times), default=0))
    return Share(cpus, gpus)


class Cluster:
    """Trials on Ray's nodes. Raises a ValueError where there is no such cluster."""

    def __init__(self, address: str | None, limit: float = math.inf, work: Work = train) -> None:
        self.limit, self.work, self.ray, self.share = limit, work, connect(address), Share()

    def reserve(self, cpus: float | None, gpus: float | None, trial: Share) -> None:
        """Settle what each trial takes; see :func:`choose_share`. Raises a ValueError where no node has that."""
        living = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        self.share = choose_share(living, cpus, gpus, trial)
        if not self.slots:
            there = self.ray.cluster_resources()
            raise ValueError(
                f"no node has {self.share.cpus:g} CPUs and {self.share.gpus:g} GPUs for a trial; "
                f"the cluster has {there.get('CPU', 0):g} and {there.get('GPU', 0):g} in total"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """The living ones that a trial fits into."""
        return [node for node in self.ray.nodes() if node["Alive"] and self.share.fits(node["Resources"])]

    @property
    def slots(self) -> int:
        """Trials at a time, on all nodes; it changes with them."""
        return int(min(sum(self.share.fits(node["Resources"]) for node in self.nodes), self.limit))

    def start(self, job: Job) -> "RayAttempt":
        task = self._task(attend, num_returns="streaming")
        return RayAttempt(self.ray, task.remote(job, self.work, os.getcwd()))

    def wait(self, attempts: Sequence["RayAttempt"], seconds: float | None) -> list["RayAttempt"]:
        if not attempts:
            time.sleep(seconds or 0)  # no node has room
            return []
        events = {attempt.messages: attempt for attempt in attempts}
        ready, _ = self.ray.wait(list(events), timeout=seconds, fetch_local=False)
        return [events[event] for event in ready]

    def check(self, plan: Plan, mark: Path) -> Origin:
        """What a trial would hang on, on every node alike. ``mark``: a file of the study's folder.

        Raises:
            ValueError: a node cannot train the plan, does not see the study's folder, or differs from another.
        """
        (first, here), *others = self._ask(plan, mark)
        for name, there in others:
            if there != here:
                pairs = zip(here.facts, there.facts, strict=True)
                differences = ", ".join(f"{k} {a} and {b}" for (k, a), (_, b) in pairs if a != b)
                raise ValueError(f"nodes {first} and {name} would give different results: {differences}")
        return here

    def _ask(self, plan: Plan, mark: Path) -> Iterator[tuple[str, Origin]]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        mark = mark.resolve()
        asked = {}
        for node in self.nodes:
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
            asked[name] = self._task(look, scheduling_strategy=where).remote(plan, mark, os.getcwd())
        for name, answer in asked.items():
            if not self.ray.wait([answer], timeout=PATIENCE)[0]:
                say(f"node {name} is still checking code and images; the first time, this takes minutes")
            try:
                seen, report = self.ray.get(answer)
            except self.ray.exceptions.RayError as error:
                why = str(error).strip().splitlines()[-1:] or [type(error).__name__]
                raise ValueError(f"node {name} does not answer: {why[0]}") from None
            if isinstance(report, str):
                raise ValueError(f"node {name}: {report}")
            if seen != read(mark):
                raise ValueError(f"node {name} does not see {mark.parents[1]}; all nodes must share a study's folder")
            yield name, report

    def _task(self, function: Any, **options: Any) -> Any:
        return self.ray.remote(function).options(**self.share.options, max_retries=0, **options)


class RayAttempt:
    """A trial at work as a task; its messages stream in."""

    def __init__(self, ray: Any, messages: Any) -> None:
        self.ray, self.messages, self.at_work = ray, messages, True

    def receive(self) -> Message:
        message: Message
        try:
            message = self.ray.get(next(self.messages))
        except (self.ray.exceptions.RayError, StopIteration) as error:
            message = Lost(type(error).__name__)
        self.at_work = isinstance(message, Epoch)
        return message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the task, unless it has had its last word: Ray takes the driver down with one that is just ending."""
        if self.at_work:
            self.ray.cancel(self.messages, force=True)


def attend(job: Job, work: Work, here: str) -> Iterator[Message]:
    """A task: a job in a process of its own, and what it says. ``here``: what paths are relative to."""
    os.chdir(here)
    with TrialProcess(replace(job, gpus=os.environ.get("CUDA_VISIBLE_DEVICES")), work) as process:
        while isinstance(message := process.receive(), Epoch):
            yield message
        yield message


def look(plan: Plan, mark: Path, here: str) -> tuple[str, Origin | str]:
    """A task: what it reads in a file of the study, and what a trial would hang on, or why there can be none."""
    try:
        os.chdir(here)
        return read(mark), check_plan(plan)
    except (ValueError, OSError) as error:
        return read(mark), str(error)


def read(file: Path) -> str:
    """Its text; none where there is no file."""
    return read_text(file) if file.exists() else ""


def connect(address: str | None) -> Any:
    """Ray, with the cluster at ``address``, or with one of its own, for which nobody else has the token.

    Raises:
        ValueError: no Ray, no cluster there, or one elsewhere that lets in whoever knocks.
    """
    if os.environ.get(MODE, "token") != "token" and not (address and is_loopback(address)):
        raise ValueError(f"{MODE} is {os.environ[MODE]}: anyone who reaches such a cluster can run anything on it")
    if address is None:
        os.environ.setdefault(TOKEN, secrets.token_hex(32))
        os.environ[ELSEWHERE] = "0"
    else:
        knock(address)
    if address is None or not is_loopback(address):
        os.environ[MODE] = "token"  # before Ray is imported, which reads it then
    try:
        import ray
    except ImportError:
        raise ValueError("--engine ray needs Ray: pip install -e '.[ray]'") from None
    if Version(ray.__version__) < Version(OLDEST):
        raise ValueError(
            f"--engine ray needs Ray {OLDEST} or newer, which checks tokens; installed is {ray.__version__}"
        )
    own: dict[str, Any] = {"include_dashboard": False} if address is None else {}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, ray.exceptions.RayError, RuntimeError) as error:
        raise ValueError(f"no Ray cluster at --engine.address {address}: {' '.join(str(error).split())}") from None
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would give another exit code
    return ray


def knock(address: str) -> None:
    """Raise a ValueError where nobody listens, which takes Ray minutes to find, or where we have no token."""
    host, _, port = address.rpartition(":")
    files = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "")), Path.home() / ".ray" / "auth_token"
    if not (is_loopback(address) or os.environ.get(TOKEN) or any(file.is_file() for file in files)):
        raise ValueError(f"--engine.address {address} is another machine, and there is no token for it ({TOKEN})")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise ValueError(f"no Ray cluster at --engine.address {address}: {error}") from None


def is_loopback(address: str) -> bool:
    """Whether HOST:PORT is this machine, by a name or number that no other has."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
