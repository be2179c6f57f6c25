"""Trials whose processes are ended by a signal, or left without the server that started them."""

import io
import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ablations.engines.exits import FAULTS, describe_exit, is_from_outside
from ablations.engines.local import Failure, Job, Message, run_process
from ablations.engines.scheduler import ATTEMPTS, Local, Terms, run_trials
from ablations.study.folder import StudyFolder
from ablations.study.trial import Epoch, Plan, Trial
from ablations.training.status import Wanted
from tests.conftest import COST, ORIGIN, fake_result, wait_until

Send = Callable[[Message], None]


def begin(job: Job) -> list[str]:
    """Note this attempt; all attempts so far, as process ids in order."""
    with (job.study / f"attempts-{job.trial.id}").open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    return read_attempts(job.study, job.trial)


def read_attempts(folder: Path, trial: Trial) -> list[str]:
    file = folder / f"attempts-{trial.id}"
    return file.read_text().split() if file.exists() else []


def be_killed(job: Job, send: Send, number: int = 0, times: int = 1) -> None:
    """End by a signal, a few times."""
    if len(begin(job)) <= times:
        os.kill(os.getpid(), number)
        time.sleep(60)
    send(fake_result(job.trial))


def be_killed_deaf(job: Job, send: Send) -> None:
    """As under Lightning, which takes SIGTERM as a wish and ends with exit code 0."""
    heard = list[int]()
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    if len(begin(job)) == 1:
        os.kill(os.getpid(), signal.SIGTERM)
        end = time.monotonic() + 60
        while not heard and time.monotonic() < end:
            pass
        time.sleep(60)
    send(fake_result(job.trial))


def run(folder: Path, trials: list[Trial], work: Callable[[Job, Send], None], slots: int = 1) -> tuple[str, list[str]]:
    """What is said while trials are at work, and why some have no result."""
    console = Console(file=io.StringIO(), width=200)
    missing = run_trials(StudyFolder(folder), trials, console, Terms(Wanted(ORIGIN), engine=Local(slots, work)))
    return console.file.getvalue(), [why for _, why in missing]  # type: ignore[attr-defined]


@pytest.fixture
def study(tmp_path: Path, plan: Plan) -> StudyFolder:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    return study


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU, signal.SIGRTMIN + 3],
)
def test_a_trial_ended_from_outside_is_tried_again(study: StudyFolder, plan: Plan, number: int) -> None:
    said, missing = run(study.folder, plan.trials()[:1], partial(be_killed, number=number))
    assert missing == []
    assert f"lost ({describe_exit(-number)}); will be tried again" in said
    assert len(study.results()) == 1


def test_sigterm_is_not_taken_for_an_end(study: StudyFolder, plan: Plan) -> None:
    said, missing = run(study.folder, plan.trials()[:1], be_killed_deaf)
    assert missing == []
    assert "lost (its process was ended by SIGTERM); will be tried again" in said


def test_a_trial_that_is_killed_each_time_fails_in_the_end(study: StudyFolder, plan: Plan) -> None:
    trial = plan.trials()[0]
    said, missing = run(study.folder, [trial], partial(be_killed, number=signal.SIGKILL, times=99))
    assert len(read_attempts(study.folder, trial)) == ATTEMPTS
    assert f"lost {ATTEMPTS} times: its process was ended by SIGKILL (out of memory?)" in missing[0]
    assert said.count("tried again") == ATTEMPTS - 1


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL])
def test_what_a_trial_does_to_itself_is_its_failure(study: StudyFolder, plan: Plan, number: signal.Signals) -> None:
    trial = plan.trials()[0]
    said, missing = run(study.folder, [trial], partial(be_killed, number=number))
    assert f"its process was ended by {number.name}" in missing[0]
    assert "tried again" not in said
    assert len(read_attempts(study.folder, trial)) == 1


def test_who_asks_for_one_process_hears_how_it_ended(trial: Trial, tmp_path: Path) -> None:
    outcome = run_process(Job(trial, COST, tmp_path, tmp_path), lambda epoch: None, partial(be_killed, number=15))
    assert outcome == Failure("its process was ended by SIGTERM", "")


def miss_the_second(job: Job, send: Send) -> None:
    """Of two processes that train one trial, the first fails for want of the second, and says so first."""
    assert job.rank
    mark = job.study / f"begun-{job.rank.number}"
    if not mark.exists():
        mark.touch()
        if job.rank.number == 0:
            raise RuntimeError("connection closed by peer")
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)
    if job.rank.number == 0:
        send(fake_result(job.trial))


def test_of_several_processes_the_lost_one_counts(study: StudyFolder, plan: Plan) -> None:
    trial = replace(plan.trials()[0], trainer=(("accelerator", "cpu"), ("devices", 2)))
    said, missing = run(study.folder, [trial], miss_the_second)
    assert missing == []
    assert "lost (its process was ended by SIGTERM); will be tried again" in said


def kill_the_server(job: Job, send: Send) -> None:
    """One of two trials ends the server under both, when both are at work; then neither ends by itself."""
    if len(begin(job)) == 1:
        send(Epoch(1, 0.1, 2.0))
        assert wait_until(lambda: len(list(job.study.glob("attempts-*"))) == 2, 30)
        if job.trial.rung == "recipe":
            os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    send(fake_result(job.trial))


def is_there(pid: int) -> bool:
    """Whether a process lives; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def look_for_twins(job: Job, send: Send) -> None:
    """As above; an attempt that begins while an older one lives says so by failing."""
    older = read_attempts(job.study, job.trial)
    assert not any(is_there(int(pid)) for pid in older), "two processes train one trial"
    kill_the_server(job, send)


def test_trials_outlive_the_server_that_started_them(study: StudyFolder, plan: Plan) -> None:
    trials = plan.trials()[:2]
    said, missing = run(study.folder, trials, look_for_twins, slots=2)
    assert missing == []
    assert said.count("tried again") == 2
    assert len(study.results()) == 2
    assert not any(is_there(int(pid)) for trial in trials for pid in read_attempts(study.folder, trial))


@pytest.mark.parametrize("helper", ["server", "tracker"])
def test_helpers_that_are_gone_before_a_trial_begins(study: StudyFolder, plan: Plan, helper: str) -> None:
    """Nor is anything said of it: warnings are errors here."""
    forkserver.ensure_running()
    server, tracker = forkserver._forkserver, resource_tracker._resource_tracker  # type: ignore[attr-defined]
    pid = server._forkserver_pid if helper == "server" else tracker._pid
    os.kill(pid, signal.SIGKILL)
    _, missing = run(study.folder, plan.trials()[:2], partial(be_killed, times=0), slots=2)
    assert missing == []
    assert mp.active_children() == []


@given(st.integers(-200, 300))
def test_every_exit_code_has_words(code: int) -> None:
    said = describe_exit(code)
    assert said.startswith("its process ")
    assert "\n" not in said
    assert is_from_outside(code) == (code in (143, 255) or (code < 0 and -code not in FAULTS))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "its process ended with exit code 0"),
        (3, "its process ended with exit code 3"),
        (-15, "its process was ended by SIGTERM"),
        (143, "its process was ended by SIGTERM"),
        (-9, "its process was ended by SIGKILL (out of memory?)"),
        (-34, "its process was ended by SIGRTMIN"),
        (-37, "its process was ended by SIGRTMIN+3"),
        (-64, "its process was ended by SIGRTMAX"),
        (-99, "its process was ended by signal 99"),
    ],
)
def test_exit_codes_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words
