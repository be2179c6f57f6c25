import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convnext_path.files import cache_file
from convnext_path.kernels import build, compiler
from tests.kernels.conftest import needs_kernels

CPU = torch.device("cpu")
STOCK = "stock (kernels not built)"
#: The beginning of a compiler that answers as a real one does, and then does as it likes with the library's $place.
ANSWERS = """for o; do place=$o; done
case "$*" in *-dM*) echo '#define __VERSION__ "12.2.0"'; exit;; esac
"""


@pytest.fixture
def use_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Let the C++ compiler be a shell script."""

    def use(script: str) -> Path:
        file = tmp_path / "cxx"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("CXX", str(file))
        return file

    return use


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, kernels: list[Path]) -> list[object]:
    """Compiling takes no time: it gives what was compiled before. Notes each time."""
    made: list[object] = []
    whole = kernels[0].read_bytes() if kernels else b""
    monkeypatch.setattr(compiler, "compile_library", lambda command: made.append(command) or whole)
    return made


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exec sleep 1000", "does not end within 0.3 s"),
        ("sleep 1000 & sleep 1000 & wait", "does not end within 0.3 s"),
        ("trap '' TERM INT HUP; while :; do sleep 1; done", "does not end within 0.3 s"),
        (ANSWERS + "exec sleep 1000", "does not end within 0.3 s"),
        ("exec yes", "prints without end"),
        ("exec yes >&2", "prints without end"),
        ("cat; sleep 1000 & echo >&2 no; exit 3", "fails: no"),
        ("exit 7", "fails: 7"),
        (r"printf '\351\n' >&2; exit 1", "fails: \ufffd"),
        (r"printf '#define __VERSION__ \"\351\"\n'", "compiles to no file"),
        (ANSWERS, "compiles to no file"),
        (ANSWERS + "mkdir $place", "compiles to no file"),
        (ANSWERS + "mkfifo $place", "compiles to no file"),
        (ANSWERS + "ln -s /dev/zero $place", "compiles to no file"),
        (ANSWERS + "echo junk >$place", "invalid ELF header|file too short"),
        (ANSWERS + ": >$place", "invalid ELF header|file too short"),
    ],
)
def test_a_compiler_that_misbehaves_is_no_compiler(
    script: str,
    message: str,
    fresh: Path,
    use_script: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if "does not end" in message:
        monkeypatch.setattr(compiler, "COMPILES" if script.startswith(ANSWERS) else "ANSWERS", 0.3)
    use_script(script)
    assert build.describe(CPU) == STOCK
    (record,) = caplog.records
    assert re.search(message, record.getMessage())
    assert "\n" not in record.getMessage()
    assert not list(fresh.glob("kernels-*"))


@pytest.mark.parametrize("path", ["", "folder", "plain", "text", "nothing", "nothing --option"])
def test_what_cannot_be_started_is_no_compiler(
    path: str, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("x")
    (tmp_path / "text").write_text("x")
    (tmp_path / "text").chmod(0o755)
    monkeypatch.setenv("CXX", f"{tmp_path}/{path}")
    assert build.describe(CPU) == STOCK
    assert "cannot be started" in caplog.text


@pytest.mark.parametrize("cxx", ["false", "no-such-compiler", "c++ -no-such-flag", "true", "'"])
def test_a_compiler_that_fails_is_no_compiler(cxx: str, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", cxx)
    assert build.describe(CPU) == "stock (kernels not built)"
    assert not list(fresh.glob("*"))


@needs_kernels
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:1000], lambda b: b[:999] + b"x" + b[1000:], None])
def test_a_damaged_kernel_is_made_again(
    damage: Callable[[bytes], bytes] | None, fresh: Path, no_compiler: list[object]
) -> None:
    title = build.describe(CPU)
    assert title.startswith("ours (")
    (file,) = fresh.iterdir()
    whole = file.read_bytes()
    file.unlink()  # this process runs it: it must not be written to
    if damage is not None:
        file.write_bytes(damage(whole))
    build.load.cache_clear()
    assert build.describe(CPU) == title
    assert len(no_compiler) == 2
    assert compiler.is_whole(file)
    build.load.cache_clear()
    assert build.describe(CPU) == title
    assert len(no_compiler) == 2


@needs_kernels
def test_a_library_without_our_functions_is_not_kept(
    fresh: Path, use_script: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    use_script(ANSWERS + "echo 'int f() { return 1; }' | c++ -shared -fPIC -x c++ - -o $place")
    assert build.describe(CPU) == STOCK
    assert "what was compiled has no depthwise_scratch" in caplog.text
    assert not list(fresh.glob("kernels-*"))


@needs_kernels
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("abort();", "Python fails: -6"),
        ("_exit(3);", "Python fails: 3"),
        ("_exit(0);", "it ends Python"),
        ('fputs("no runtime", stderr); _exit(1);', "Python fails: no runtime"),
        ("for (;;) pause();", "Python does not end within 0.3 s"),
        ("missing();", "undefined symbol"),
    ],
)
def test_a_library_that_ends_or_hangs_python_is_not_loaded(
    body: str,
    message: str,
    fresh: Path,
    use_script: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if "does not end" in message:
        monkeypatch.setattr(compiler, "LOADS", 0.3)
    code = f"""#include <cstdio>
#include <cstdlib>
#include <unistd.h>
void missing();
__attribute__((constructor)) static void run() {{ {body} }}"""
    use_script(f"{ANSWERS}c++ -shared -fPIC -x c++ - -o $place <<'END'\n{code}\nEND")
    assert build.describe(CPU) == STOCK
    (record,) = caplog.records
    assert re.search(f"what was compiled cannot be loaded: .*{message}", record.getMessage())
    assert not list(fresh.glob("kernels-*"))


@needs_kernels
def test_a_library_is_tried_when_it_is_built_alone(
    fresh: Path, kernels: list[Path], use_script: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []
    monkeypatch.setattr(compiler, "try_loading", tried.append)
    use_script(ANSWERS + f"cp {kernels[0]} $place")
    for _ in range(2):
        build.load.cache_clear()
        assert build.load().functions is not None
        assert len(tried) == 1


def test_a_hang_is_waited_for_once(
    fresh: Path, use_script: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiler, "ANSWERS", 0.2)
    script = use_script('echo "$$" >>"$0.log"; exec sleep 1000')
    runs = script.with_suffix(".log")

    def count() -> int:
        build.load.cache_clear()  # as another process
        assert build.describe(CPU) == STOCK
        return len(runs.read_text().split())

    assert [count(), count()] == [1, 1]
    assert "did not end when tried 0 min ago; it is tried again after an hour" in caplog.text
    now = time.time()
    monkeypatch.setattr(compiler.time, "time", lambda: now + 2 * compiler.FORGETS)
    assert count() == 2
    os.utime(script, (1, 1))  # another compiler
    assert count() == 3


def test_the_cache_is_ours_alone(fresh: Path, no_compiler: list[object]) -> None:
    before = os.umask(0o002)
    try:
        build.load()
    finally:
        os.umask(before)
    if not no_compiler:
        pytest.skip("no C++ compiler")
    (file,) = fresh.iterdir()
    modes = [stat.S_IMODE(place.stat().st_mode) for place in (fresh.parent, fresh, file)]
    assert modes == [0o700, 0o700, 0o600]


def give_away(place: Path) -> None:
    if os.geteuid():
        pytest.skip("root alone gives files away")
    os.chown(place, 12345, -1, follow_symlinks=False)


def link(place: Path, mode: int = 0o777) -> None:
    """Put what others may write behind a link of ours."""
    other = place.with_name("other")
    place.rename(other)
    place.symlink_to(other)
    other.chmod(mode)


def link_foreign(place: Path) -> None:
    """Put what is ours behind another's link."""
    link(place, 0o700)
    give_away(place)


#: What makes the cache no place for code: done to its root, our folder in it, or the file.
SPOILS: dict[str, Callable[[Path], None]] = {
    "group": lambda place: place.chmod(0o770),
    "all": lambda place: place.chmod(0o757),
    "owner": give_away,
    "link": link,
    "foreign link": link_foreign,
}


@needs_kernels
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("spoil", SPOILS)
def test_where_others_may_write_kernels_are_for_one_process(
    spoil: str, level: int, fresh: Path, no_compiler: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    title = build.describe(CPU)
    (file,) = fresh.iterdir()
    before = file.read_bytes()
    SPOILS[spoil](file.parents[level])
    for made in (2, 3):
        build.load.cache_clear()
        assert build.describe(CPU) == title
        assert len(no_compiler) == made
        library = build.load().functions
        assert library is not None
        assert not Path(library._name).exists()
    assert caplog.text.count("kernels are compiled for this process alone: ") == 2
    assert "chmod go-w" in caplog.text or "belongs to user 12345: set XDG_CACHE_HOME" in caplog.text
    assert file.read_bytes() == before


@needs_kernels
@pytest.mark.parametrize("spoil", SPOILS)
def test_a_file_that_others_may_have_written_is_made_again(
    spoil: str, fresh: Path, no_compiler: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    title = build.describe(CPU)
    (file,) = fresh.iterdir()
    SPOILS[spoil](file)
    for _ in range(2):
        build.load.cache_clear()
        assert build.describe(CPU) == title
        assert len(no_compiler) == 2
    assert not caplog.records
    assert not file.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_uid == os.geteuid()


@needs_kernels
def test_no_temporary_folder_of_ours_means_torchs_own(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o777)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert build.describe(CPU) == STOCK
    assert f"others may write to {tmp_path}/tmp: chmod go-w {tmp_path}/tmp" in caplog.text


@pytest.mark.parametrize("name", ["XDG_CACHE_HOME", "HOME"])
def test_a_place_that_is_a_file_means_torchs_own(
    name: str, fresh: Path, no_compiler: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which is to be ignored
    monkeypatch.setenv(name, str(tmp_path / "file"))
    assert cache_file("x").is_relative_to(tmp_path / "file")
    assert build.describe(CPU) in (STOCK, "stock (no C++ compiler)")
