"""A trial in a process of its own, so that whatever it dies of, nothing else does.

Processes are forked from a server that has done the imports, and in which torch has not started its threads.
"""

import multiprocessing as mp
import os
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Self

from ablations.run import DivergenceError, Report, run_trial
from ablations.study import Study
from ablations.tracking import FINISH, Mode, finish_run, forgiving, log_epoch, send_result, start_run
from ablations.trial import Epoch, Result, Trial
from convnext_path import Cost

PATIENCE = 4.0  # seconds that a process has to say good-bye (to W&B) once its result is here

CONTEXT = mp.get_context("forkserver")
PRELOAD = ["ablations.preload"]
CONTEXT.set_forkserver_preload(PRELOAD)


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


@dataclass(frozen=True)
class Failure:
    """Why there is no result: in a line, and at length."""

    summary: str
    cause: str


Message = Epoch | Result | Failure
Work = Callable[[Job, Callable[[Message], None]], None]


def warm_up(wandb: Mode = "disabled") -> None:
    """Start the server, which imports while the driver goes on."""
    if wandb != "disabled":
        CONTEXT.set_forkserver_preload(["wandb.apis.public", *PRELOAD])  # takes each run a second otherwise
    forkserver.ensure_running()


def train(job: Job, send: Callable[[Message], None]) -> None:
    """Train a trial; its result is sent before W&B has its say."""
    study, result = Study(job.study), None
    run = forgiving(start_run)(study, job.trial, job.wandb)

    def report(epoch: Epoch) -> None:
        send(epoch)
        forgiving(log_epoch)(run, epoch)

    try:
        result = run_trial(job.trial, job.loader_workers, report, job.checkpoints, job.checkpoint, job.cost)
        send(result)
    finally:
        forgiving(finish_run)(run, result)
    if job.checkpoint:
        send_result(study, result, job.wandb, FINISH)  # with the epochs before the break; the driver waits


class TrialProcess:
    """A job at work in a process of its own, which never outlives the ``with`` block."""

    def __init__(self, job: Job, work: Work = train) -> None:
        self._receiver, sender = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_serve, args=(job, sender, work, mp.get_start_method()))
        self._process.start()
        sender.close()

    @property
    def events(self) -> tuple[Connection, int]:
        """What to wait for: a message, or its end, after which its own children may hold the pipe open."""
        return self._receiver, self._process.sentinel

    def receive(self) -> Message:
        """What it says next, or how it ended; after its last word it has a moment to say good-bye to W&B."""
        wait(self.events)
        message = self._read() or Failure(describe_exit(self._join()), "")
        if not isinstance(message, Epoch):
            self._process.join(PATIENCE)
        return message

    def _read(self) -> Message | None:
        try:
            message: Message | None = self._receiver.recv() if self._receiver.poll() else None
        except EOFError:
            return None
        return message

    def _join(self) -> int:
        self._process.join()
        return self._process.exitcode or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._receiver.close()


def run_process(job: Job, report: Report, work: Work = train) -> Result | Failure:
    """Do a job in a process of its own; ``report`` hears of each epoch."""
    with TrialProcess(job, work) as process:
        while isinstance(message := process.receive(), Epoch):
            report(message)
        return message


def _serve(job: Job, sender: Connection, work: Work, method: str) -> None:
    """What the process does: the work, ended by nothing but the driver or its death."""
    mp.set_start_method(method, force=True)  # loader workers start as anywhere, not by way of our server
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends us
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    try:
        work(job, sender.send)
    except DivergenceError as error:
        sender.send(Failure(f"diverged: {error}", ""))
    except Exception as error:  # noqa: BLE001 - whatever it is, the driver is to know
        sender.send(Failure(f"{type(error).__name__}: {error}", traceback.format_exc()))


def _end_with_the_driver() -> None:
    driver = mp.parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-code).name}{hint}"
