import math
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnext_path.files import (
    LONGEST,
    cache_file,
    digest,
    digest_file,
    make_absolute,
    parse_json,
    read_regular,
    read_text,
    recall,
    remember,
    remove_drafts,
    write_whole,
)
from tests.oddities import ENDLESS, ODDITIES, place


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    write_whole(file, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as a disk that is full
    try:
        with pytest.raises(OSError, match="cannot write .*record.json: File too large"):
            write_whole(file, b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


GONE = 2**22 + 1  # no process: Linux has fewer

#: What others leave beside our files, or what looks like a draft of ours, and is none.
FOREIGN = (
    *(".gitignore", ".env", ".a.json.swp", ".a.json", "a.json~", "#a.json#", ".nfs0001", "..a.json", ".a.json.draft"),
    *(f".a.json.{GONE}.txt", f".b.json.{GONE}.draft", f".xa.json.{GONE}.draft", f".a-json.{GONE}.draft", ".a.json.1x"),
    *(f".a.json.{GONE}", ".a.json.20261130"),
    *(
        f".a.json.{GONE}.draft.draft",
        f"a.json.{GONE}.draft",
        f".A.json.{GONE}.draft",
        ".a.json.1.draft\n",
        ".a.json..draft",
    ),
)


def test_drafts_of_a_file_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in FOREIGN:
        (tmp_path / name).touch()
    (tmp_path / ".a.json.7.draft").mkdir()
    (tmp_path / ".a.json.8.draft").symlink_to("nowhere")
    os.mkfifo(tmp_path / ".a.json.9.draft")
    (tmp_path / f".a.json.{os.getppid()}.draft").touch()  # someone is writing
    before = sorted(tmp_path.iterdir())
    for name in (f".a.json.{GONE}.draft", f".a.json.{os.getpid()}.draft"):
        (tmp_path / name).touch()
    remove_drafts(tmp_path, r"a\.json")
    assert sorted(tmp_path.iterdir()) == before
    write_whole(tmp_path / "a.json", b"1")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "a.json"])


def test_a_write_replaces_a_link_and_follows_none(tmp_path: Path) -> None:
    kept, file = tmp_path / "kept", tmp_path / "file"
    for link in (file, tmp_path / f".file.{os.getpid()}.draft"):
        kept.write_bytes(b"precious")
        link.symlink_to(kept)
        with suppress(OSError):
            write_whole(file, b"new")
        assert kept.read_bytes() == b"precious"
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize(("kind", "why"), ODDITIES.items())
def test_only_regular_files_are_read_and_none_is_waited_for(
    tmp_path: Path, kind: str, why: str, alarm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place(tmp_path / "file", kind)
    with pytest.raises(OSError, match=why) as raised:
        read_regular(tmp_path / "file", 1000)
    assert raised.value.strerror


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "annex").write_bytes(b"caf\xe9")
    (tmp_path / "file").symlink_to("annex")
    assert read_regular(tmp_path / "file") == b"caf\xe9"
    assert read_text(tmp_path / "file") == "caf\ufffd"
    assert digest_file(tmp_path / "file") == digest(b"caf\xe9")


@pytest.mark.parametrize("name", ENDLESS)
def test_files_of_the_system_that_never_end_are_not_read_on(name: str, alarm: None) -> None:
    for read in (digest_file, read_regular):
        with suppress(OSError):
            read(Path(name))


def test_a_file_that_is_too_long_is_not_digested(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", LONGEST + 1)
    with pytest.raises(OSError, match="it has more than 17179869184 bytes"):
        digest_file(tmp_path / "file")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[" * 200_000, b'{"a":' * 200_000, b"9" * 5000, b'{"a": 1, "a": 2}', b"\xe9", b'"\xe9"', b"{", b"[1,]"),
        *(b"\x00", b"\xff\xfe", b"1 2", b"'a'", b'{"a": {"b": 1, "b": 1}}'),
    ],
    ids=lambda content: repr(content[:9]),
)
def test_what_is_no_json_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        parse_json(content)


@given(st.binary())
def test_any_bytes_are_json_or_a_value_error(content: bytes) -> None:
    with suppress(ValueError):
        parse_json(content, finite=True)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_may_have_to_be_finite(number: str) -> None:
    assert not math.isfinite(parse_json(f"[{number}]".encode())[0])
    with pytest.raises(ValueError, match=f"it holds {number}, which is not a finite number"):
        parse_json(f"[{number}]".encode(), finite=True)
    assert parse_json(b"[1.5e3, 2]", finite=True) == [1500.0, 2]


def test_the_cache_lies_where_the_system_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file("x.json") == tmp_path / "convnext-path" / "x.json"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_file("x.json") == tmp_path / ".cache" / "convnext-path" / "x.json"


def test_what_is_remembered_is_recalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert recall("x") is None
    remember("x", {"a": [1, None]})
    assert recall("x") == {"a": [1, None]}
    cache_file("x.json").write_text('{"a')
    assert recall("x") is None
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember("x", 1)
    assert recall("x") is None


@pytest.mark.parametrize("spoil", [lambda p: p.chmod(0o777), lambda p: p.chmod(0o770), lambda p: p.chmod(0o1777)])
@pytest.mark.parametrize("level", [0, 1])
def test_what_others_may_have_written_is_not_recalled(
    spoil: Callable[[Path], None], level: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remember("x", 1)
    spoiled = cache_file("x.json").parents[level]
    spoil(spoiled)
    is_shelf = level == 1 and bool(spoiled.stat().st_mode & 0o1000)
    assert recall("x") == (1 if is_shelf else None)
    remember("x", 2)
    spoiled.chmod(0o700)
    assert recall("x") == (2 if is_shelf else 1)  # nothing was written either
    cache_file("x.json").chmod(0o666)
    assert recall("x") is None
    remember("x", 3)
    assert recall("x") == 3


def test_a_relative_cache_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/cache")
    assert cache_file("x") == tmp_path / ".cache" / "convnext-path" / "x"


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to("/dev/zero"), lambda p: p.symlink_to(p)]
)
def test_what_is_no_file_is_not_recalled(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache_file("x").parent.mkdir(0o700)
    make(cache_file("x.json"))
    assert recall("x") is None


def test_places_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep" / "inside").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "inside")
    monkeypatch.chdir(tmp_path)
    places = {
        "link": "link",
        "link/..": "deep",
        "deep/../link": "link",
        "./deep/": "deep",
        "link/../x": "deep/x",
    }
    assert {name: make_absolute(name) for name in places} == {n: str(tmp_path / p) for n, p in places.items()}
    assert make_absolute("~/x") == f"{Path.home()}/x"
