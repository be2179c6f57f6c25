"""How trials an hour grow with the trials at a time: what driver and engine cost beside trials of known length."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from ablations.bench.overhead import PLAN, train_apart
from ablations.engines.local import Job, Message, warm_up
from ablations.engines.ray import Cluster, Share
from ablations.engines.scheduler import Engine, Local, Terms
from ablations.study.origin import Origin
from ablations.study.trial import Result
from ablations.training.status import Wanted
from convnext_path.frozen import Frozen

AT_ONCE = (1, 2, 4)
EACH = 6  # trials, one after the other


@dataclass(frozen=True)
class Scaled(Frozen):
    """Trials of a known length, so many at a time."""

    engine: str
    at_once: int
    trials: int
    length: float  # seconds of a trial
    seconds: float  # of all, from the first one's begin to the last one's record

    @property
    def trials_per_hour(self) -> float:
        return 3600 * self.trials / self.seconds

    @property
    def efficiency(self) -> float:
        """The share of the time that trials of that length would take if nothing else took any."""
        return self.trials / self.at_once * self.length / self.seconds


@dataclass(frozen=True)
class Rest:
    """A trial that rests, so that two cores serve any number of them."""

    length: float

    def __call__(self, job: Job, send: Callable[[Message], None]) -> None:
        time.sleep(self.length)
        send(Result(job.trial, job.cost, 0.0, 0.0, (), self.length, 0.0, 0, Origin()))


def start_engine(name: str, at_once: int, rest: Rest) -> AbstractContextManager[Engine]:
    if name == "local":
        return nullcontext(Local(at_once, rest))
    cluster = Cluster(None, at_once, rest)
    cluster.reserve(0.25, 0, Share())
    return cluster


def measure_scaling(length: float) -> Iterator[Scaled]:
    """Run the trials on each engine, few and many at a time; what it takes to start an engine is not counted.

    Raises:
        TrialFailedError: in a line.
        ValueError: Ray is not installed.
    """
    warm_up()
    for name in ("local", "ray"):
        for at_once in AT_ONCE:
            with start_engine(name, at_once, Rest(length)) as engine:
                run_rests(engine, at_once)  # warms up: an engine starts a process for each at its first trial
                begin = time.perf_counter()
                run_rests(engine, EACH * at_once)
                yield Scaled(name, at_once, EACH * at_once, length, time.perf_counter() - begin)


def run_rests(engine: Engine, trials: int) -> None:
    train_apart(replace(PLAN, seeds=tuple(range(trials))), Terms(Wanted(Origin()), engine=engine))
