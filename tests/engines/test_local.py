import os
import re
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
from torch import Tensor
from torch.utils.data import get_worker_info

from ablations.engines.local import Failure, Job, Message, run_process, train
from ablations.study.trial import Epoch, Plan, Result, Trial
from ablations.training.curve import DivergenceError
from convnext_path.data import module as data
from tests.conftest import COST, fake_result

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


def lose_a_worker(job: Job, send: Send) -> None:
    load = data.View._load

    def end(view: data.View, indices: Sequence[tuple[int, int]]) -> Tensor:
        return os._exit(1) if get_worker_info() else load(view, indices)

    data.View._load = end  # type: ignore[method-assign]  # this process is the trial's own
    train(replace(job, loader_workers=1), send)


def fill_the_disk(job: Job, send: Send) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    train(replace(job, trial=replace(job.trial, recipe=job.trial.recipe.with_epochs(2))), send)


@pytest.fixture
def job(trial: Trial, tmp_path: Path) -> Job:
    return Job(trial, COST, tmp_path, tmp_path / "checkpoints")


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


def test_a_lost_loader_worker_and_a_full_disk(job: Job) -> None:
    lost, full = (run_process(job, lambda epoch: None, work) for work in (lose_a_worker, fill_the_disk))
    assert isinstance(lost, Failure)
    assert re.match(r"RuntimeError: DataLoader worker .*exited unexpectedly", lost.summary)
    assert isinstance(full, Failure)
    assert re.match(r"OSError: .*cannot write .*ckpt: File too large", full.summary)


def test_alone_beside_others_in_any_order_after_failures_it_is_the_same(plan: Plan, tmp_path: Path) -> None:
    jobs = [Job(trial, COST, tmp_path, tmp_path / trial.id) for trial in plan.trials()]

    def outcome(job: Job) -> str:
        result = run_process(job, lambda epoch: None)
        assert isinstance(result, Result)
        return result.outcome

    alone = [outcome(job) for job in jobs]
    assert len(set(alone)) == len(jobs)
    with ThreadPool(2) as pool:
        assert pool.map(outcome, jobs) == alone
    for work in (leave, run_out_of_memory, crash, throw, lose_a_worker):
        run_process(jobs[0], lambda epoch: None, work)
    assert [outcome(job) for job in reversed(jobs)] == alone[::-1]


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
