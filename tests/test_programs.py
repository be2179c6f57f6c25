import os
import re
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from convnext_path.programs import HangError, run_program


def shell(script: str, seconds: float = 60) -> bytes:
    return run_program(["/bin/sh", "-c", script], seconds)


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ("echo x", b"x\n"),
        ("cat", b""),
        ("echo x >&2", b""),
        (r"printf '\351'", b"\xe9"),
        ("sleep 1000 & echo x", b"x\n"),  # which keeps the output open
        ("setsid sleep 2 & echo x", b"x\n"),
        ("head -c 1000000 /dev/zero", bytes(10**6)),
    ],
)
def test_what_a_program_prints(script: str, printed: bytes) -> None:
    assert shell(script) == printed


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "^/bin/sh fails: 3$"),
        ("echo no >&2; echo yes >&2; exit 1", "^/bin/sh fails: no$"),
        ("kill -9 $$", "^/bin/sh fails: -9$"),
        ("head -c 1000 /dev/zero | tr '\\0' x >&2; exit 1", "^/bin/sh fails: x{200}$"),
        ("yes", "^/bin/sh prints without end$"),
        ("yes >&2", "^/bin/sh prints without end$"),
    ],
)
def test_a_program_that_fails(script: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        shell(script)


@pytest.mark.parametrize("name", ["", "nothing", "folder", "plain", "text"])
def test_what_is_no_program(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").touch(0o600)
    (tmp_path / "text").write_text("x")
    (tmp_path / "text").chmod(0o700)
    with pytest.raises(RuntimeError, match=rf"^{re.escape(f'{tmp_path}/{name}')} cannot be started: [\w ]+$"):
        run_program([f"{tmp_path}/{name}"], 60)


@pytest.mark.parametrize(
    "ends",
    ["wait", "exec sleep 1000", "trap '' TERM INT HUP; wait", "sleep 1000 | cat", "echo x; exit 0"],
)
def test_nothing_goes_on_after_it(tmp_path: Path, ends: str) -> None:
    """Neither after a limit nor after an end: the program, and a child that it leaves behind."""
    pids, is_hang = tmp_path / "pids", "exit" not in ends
    fault = pytest.raises(HangError, match="^/bin/sh does not end within 0.5 s$") if is_hang else nullcontext()
    with fault:
        shell(f"sleep 1000 & echo $$ $! >{pids}; {ends}", 0.5 if is_hang else 60)
    for pid in pids.read_text().split():
        deadline = time.monotonic() + 60
        while is_running(int(pid)):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process is there, and not one that waits to be buried by who has adopted it."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


#: A driver with a worker that is at work, and that is named.
POOL = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from convnext_path.programs import end_with_parent
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, multiprocessing.get_context({method!r}), end_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, {seconds}).result()
    time.sleep(1000)
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize("seconds", [0, 1000])
def test_a_worker_ends_with_a_driver_that_is_killed(method: str, seconds: int) -> None:
    command = [sys.executable, "-c", POOL.format(method=method, seconds=seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout
        worker = psutil.Process(int(driver.stdout.readline()))
        driver.kill()
    worker.wait(30)
