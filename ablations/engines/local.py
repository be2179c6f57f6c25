"""A trial in a process of its own, so that whatever it dies of, nothing else does.

How processes start and end stands in processes.py.
"""

import os
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Self

from torch import nn

from ablations.engines.exits import describe_exit, is_from_outside
from ablations.engines.processes import CONTEXT, PRELOAD, Member
from ablations.study.folder import StudyFolder
from ablations.study.keeping import Mode
from ablations.study.origin import Fingerprint, Origin
from ablations.study.predictions import Answers
from ablations.study.trial import Epoch, Result, Trial
from ablations.training.checkpoint import pack_weights
from ablations.training.curve import DivergenceError, Report
from ablations.training.ranks import ALONE, Rank, find_port
from ablations.training.run import Keep, run_trial
from ablations.training.trainer import count_processes
from ablations.training.wandb_log import FINISH, finish_run, forgiving, log_epoch, send_result, start_run
from convnext_path import Cost

PATIENCE = 4.0  # seconds that a process has to say good-bye (to W&B) once its result is here
TOGETHER = 1.0  # seconds in which processes end that one cause has ended


@dataclass(frozen=True)
class Job:
    """What a process is asked to do: all that it needs, and picklable."""

    trial: Trial
    cost: Cost
    study: Path
    checkpoints: Path
    checkpoint: Path | None = None  # to go on from
    wandb: Mode = "disabled"
    loader_workers: int = 0
    keep: bool = False  # the trained network's weights and answers
    rank: Rank | None = None  # of the one process to start here; None: all that the trial takes
    gpus: str | None = None  # as CUDA_VISIBLE_DEVICES names them; None: as the process finds them


@dataclass(frozen=True)
class Failure:
    """Why there is no result: in a line, and at length."""

    summary: str
    cause: str


@dataclass(frozen=True)
class Steps:
    """What a trial's first steps give here."""

    fingerprint: Fingerprint
    origin: Origin


@dataclass(frozen=True)
class Lost:
    """Said of an attempt that something outside has ended: its machine, its process, or what watched that."""

    why: str


Message = Epoch | Result | Failure | Steps | Lost
Work = Callable[[Job, Callable[[Message], None]], None]


def warm_up(wandb: Mode = "disabled") -> None:
    """Start the server, which imports while the driver goes on. Raises an OSError where no socket can be made."""
    if wandb != "disabled":
        CONTEXT.set_forkserver_preload(["wandb.apis.public", *PRELOAD])  # takes each run a second otherwise
    try:
        forkserver.ensure_running()
    except OSError as error:
        place = tempfile.gettempdir()
        raise OSError(
            f"no process can be started with {place} as the folder for temporary files (TMPDIR): {error}"
        ) from None


def train(job: Job, send: Callable[[Message], None]) -> None:
    """Train a trial; its result is sent before W&B has its say."""
    study, result = StudyFolder(job.study), None
    wandb: Mode = "disabled" if job.rank and job.rank.number else job.wandb
    run = forgiving(start_run)(study, job.trial, wandb)

    def report(epoch: Epoch) -> None:
        send(epoch)
        forgiving(log_epoch)(run, epoch)

    try:
        whole = job.trial, job.loader_workers, report, job.checkpoints, job.checkpoint, job.cost
        rank = job.rank or ALONE
        result = run_trial(*whole, rank, find_keeper(job, rank))
        send(result)
    finally:
        forgiving(finish_run)(run, result)
    if job.checkpoint:
        send_result(study, result, wandb, FINISH)  # with the epochs before the break; the driver waits


def find_keeper(job: Job, rank: Rank) -> Keep | None:
    """What puts a trained network's weights and answers into the study, if the job asks; all processes have a part."""
    if not job.keep:
        return None

    def keep(net: nn.Module, answers: Answers) -> None:
        if rank.number == 0:
            StudyFolder(job.study).keep(job.trial, pack_weights(net), answers)

    return keep


class TrialProcess:
    """A job at work in a process of its own, or in all that its trial takes; none outlives the ``with`` block."""

    def __init__(self, job: Job, work: Work = train, at_end: Callable[[], None] | None = None) -> None:
        self._at_end = at_end
        first, *others = [replace(job, rank=rank) for rank in ([job.rank] if job.rank else gather(job.trial))]
        works = [(first, work), *((other, partial(work_silently, work)) for other in others)]
        self._members = [Member(_serve, job, work) for job, work in works]

    @property
    def events(self) -> list[Connection | int]:
        """What to wait for: a message, or the end of a process, after which its own children may hold the pipe open."""
        alive = [m for m in self._members if m is self._members[0] or m.process.exitcode != 0]
        return [event for member in alive for event in (member.receiver, member.process.sentinel)]

    def receive(self) -> Message:
        """What it says next, or how it ended; after its last word it has a moment to say good-bye to W&B."""
        message: Message | None = None
        while message is None:
            wait(self.events)
            codes = [member.process.exitcode for member in self._members]
            ended = [codes[0], *filter(None, codes[1:])]  # a helper may be done before the first
            messages = (member.read() for member in self._members)
            message = next((heard for heard in messages if heard is not None), None)
            if message is None and (code := next((c for c in ended if c is not None), None)) is not None:
                message = judge_exit(code)
        if isinstance(message, Failure) and len(self._members) > 1:
            message = self._find_lost() or message
        if not isinstance(message, Epoch):
            self._members[0].process.join(PATIENCE)
        return message

    def _find_lost(self) -> Lost | None:
        """Whether one of several processes was ended from outside: the others miss it, and may say so first."""
        end = time.monotonic() + TOGETHER
        for member in self._members:
            member.process.join(max(end - time.monotonic(), 0))
        codes = [member.process.exitcode for member in self._members]
        return next((Lost(describe_exit(code)) for code in codes if code is not None and is_from_outside(code)), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            member.close()
        if self._at_end:
            self._at_end()


def judge_exit(code: int) -> Failure | Lost:
    """What it says of a trial that its process ended with ``code``, and without a word."""
    why = describe_exit(code)
    return Lost(why) if is_from_outside(code) else Failure(why, "")


def work_silently(work: Work, job: Job, send: Callable[[Message], None]) -> None:
    """Of a trial's processes on this machine, one tells how it goes."""
    work(job, lambda message: None)


def gather(trial: Trial) -> list[Rank]:
    """The ranks of the processes that a trial takes on this machine."""
    size, _ = count_processes(trial)
    first = Rank(0, size, size, port=find_port()) if size > 1 else ALONE
    return [replace(first, number=number) for number in range(size)]


def run_process(job: Job, report: Report, work: Work = train) -> Result | Failure | Steps:
    """Do a job in a process of its own, once; ``report`` hears of each epoch."""
    with TrialProcess(job, work) as process:
        while isinstance(message := process.receive(), Epoch):
            report(message)
        return Failure(message.why, "") if isinstance(message, Lost) else message


def _serve(job: Job, send: Callable[[Message], None], work: Work) -> None:
    """What a process does."""
    os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)  # ranks meet at an address of their own
    if job.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = job.gpus
    try:
        work(job, send)
    except DivergenceError as error:
        send(Failure(f"diverged: {error}", ""))
    except Exception as error:  # noqa: BLE001 - whatever it is, the driver is to know
        send(Failure(f"{type(error).__name__}: {error}", traceback.format_exc()))
