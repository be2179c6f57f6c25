"""Signals that ask a command to stop."""

import os
import signal
from collections.abc import Iterator
from typing import NoReturn

import pytest

from ablations.cli import commands, stops
from ablations.cli.stops import STOPS, Stops

ASK = {number: (128 + number, f"stopped by {number.name}") for number in STOPS} | {signal.SIGINT: (130, "stopped")}


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


#: What a word cannot do without.
OPTIONS = {
    **{"prepare": ["--root", "x", "--out", "y"], "compare": ["--models", "resnet18"]},
    **{word: ["x"] for word in ("status", "verify", "plot", "report", "wandb")},
}


def run(monkeypatch: pytest.MonkeyPatch, *numbers: int, then: Exception | None = None, word: str = "cost") -> int:
    """A command in which signals come, and after them, while it ends, an error."""

    def work(*_: object) -> int:
        try:
            send(numbers[0])
        finally:
            send(*numbers[1:])
            if then:
                raise then
        return 0

    monkeypatch.setitem(commands.WORDS, word, work)
    return commands.main([word, *OPTIONS.get(word, [])])


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("word", commands.WORDS)
def test_a_signal_ends_a_command_with_a_line_that_says_how_to_go_on_if_it_can(
    word: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, words = ASK[number]
    assert run(monkeypatch, number, word=word) == code
    error = capsys.readouterr().err
    assert words in error
    kept = "; finished work is kept, and the same command resumes the run"
    assert (kept in error) == (word in ("run", "compare"))
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "numbers",
    [(15, 15), (15, 2, 1), (2, 2, 2), (2, 15), (1, 15, 1)],
)
def test_more_signals_while_it_ends_are_the_same_one(
    numbers: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *numbers) == 128 + numbers[0]
    send(*numbers)  # until the process is gone
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "then", [OSError(5, "Input/output error"), RuntimeError("store is gone"), ValueError("closed")]
)
def test_what_fails_for_a_signal_is_not_told(
    then: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, signal.SIGHUP, then=then) == 129
    assert capsys.readouterr().err == "stopped by SIGHUP\n"


class EndedError(Exception):
    """In place of the end of the process."""


def test_a_later_signal_ends_what_does_not_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = list[int]()

    def end(code: int) -> NoReturn:
        ended.append(code)
        raise EndedError

    monkeypatch.setattr(stops, "PATIENCE", -1.0)
    monkeypatch.setattr("os._exit", end)
    assert run(monkeypatch, signal.SIGTERM, signal.SIGINT) == 143
    assert ended == [143]
    assert capsys.readouterr().err.count("stopped by SIGTERM") == 1


def test_a_signal_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    with Stops() as held:
        send(signal.SIGHUP)
    assert held.code == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_of_a_team_the_first_one_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert run(monkeypatch, signal.SIGTERM) == 143
    assert capsys.readouterr().err == ""


def test_handlers_are_as_before_where_nothing_came() -> None:
    before = [signal.getsignal(number) for number in STOPS]
    with Stops():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in STOPS] == before
