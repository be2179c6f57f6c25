import io

import pytest
from rich.console import Console

from ablations.training import watching
from convnext_path.data import scanning


def look(console: Console, monkeypatch: pytest.MonkeyPatch) -> str:
    """What people see of a scan of 300 images."""
    monkeypatch.setattr(watching, "console", console)
    monkeypatch.setattr("ablations.console.console", console)
    with watching.watched():
        report = scanning._report.get()
        assert report
        for done in (100, 200, 300):
            report(done, 300)
    assert scanning._report.get() is None
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = look(Console(file=io.StringIO(), force_terminal=True, width=100), monkeypatch)
    assert "checking images" in seen
    assert "300/300" in seen


def test_a_log_has_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=100)
    assert look(console, monkeypatch) == ""
    times = iter([0.0, 30.0, 61.0, 61.0, 90.0])
    monkeypatch.setattr(watching, "monotonic", lambda: next(times))
    assert look(console, monkeypatch) == "checking images: 200 of 300\n"


def test_nothing_is_shown_where_nothing_is_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(watching, "console", console)
    with watching.watched():
        pass
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
