import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.process import Failure, Job, Message, describe_exit, run_process
from ablations.run import DivergenceError
from ablations.study import Epoch, Result, Trial
from tests.test_study import fake_result

Send = Callable[[Message], None]


def succeed(job: Job, send: Send) -> None:
    send(Epoch(1, 0.1, 2.0))
    send(fake_result(job.trial))
    time.sleep(60)  # a logger that has no end


def leave(job: Job, send: Send) -> None:
    os._exit(3)


def run_out_of_memory(job: Job, send: Send) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash(job: Job, send: Send) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def throw(job: Job, send: Send) -> None:
    raise MemoryError("too small a machine")


def diverge(job: Job, send: Send) -> None:
    raise DivergenceError("training loss nan at step 1")


def tell_pid(job: Job, send: Send) -> None:
    send(Epoch(os.getpid(), 0.1, 2.0))
    time.sleep(60)


@pytest.fixture
def job(trial: Trial, tmp_path: Path) -> Job:
    return Job(trial, tmp_path, tmp_path / "checkpoints", None, "disabled", 0)


def test_epochs_and_result_come_back_and_nobody_waits_for_a_slow_good_bye(job: Job) -> None:
    heard: list[Epoch] = []
    assert run_process(job, heard.append, succeed) == fake_result(job.trial)
    assert heard == [Epoch(1, 0.1, 2.0)]


@pytest.mark.parametrize(
    ("work", "summary"),
    [
        (leave, "its process ended with exit code 3"),
        (run_out_of_memory, "its process was ended by SIGKILL (out of memory?)"),
        (crash, "its process was ended by SIGSEGV"),
        (throw, "MemoryError: too small a machine"),
        (diverge, "diverged: training loss nan at step 1"),
    ],
)
def test_whatever_a_trial_dies_of_is_told(job: Job, work: Callable[[Job, Send], None], summary: str) -> None:
    outcome = run_process(job, lambda epoch: None, work)
    assert isinstance(outcome, Failure)
    assert outcome.summary == summary
    assert ("Traceback" in outcome.cause) == (work is throw)


def test_a_process_ends_with_the_call(job: Job) -> None:
    class EnoughError(Exception):
        pass

    pids: list[int] = []

    def stop(epoch: Epoch) -> None:
        pids.append(epoch.epoch)
        raise EnoughError

    with pytest.raises(EnoughError):
        run_process(job, stop, tell_pid)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_the_real_work(job: Job) -> None:
    result = run_process(job, lambda epoch: None)
    assert isinstance(result, Result)
    assert result.trial == job.trial


def test_exit_codes_in_words() -> None:
    assert describe_exit(-15) == "its process was ended by SIGTERM"
