"""Compiles what this folder has in C++ for this processor, by the user's compiler, and keeps it in the user's cache.

What is loaded runs in this process, so nothing is taken from where others may write.
"""

import logging
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convnext_path.files import cache_file, digest, keep, recall, remember
from convnext_path.programs import HangError, run_program
from convnext_path.trust import UntrustedError, find_stranger, private_folder

FOLDER = Path(__file__).parent
SOURCES = tuple(FOLDER / name for name in ("channels.cpp", "depthwise.cpp", "gelu.cpp", "vectors.h"))
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp")  # torch's own OpenMP is there already
SEAL = len(digest(b""))

#: Seconds. A compiler on a cluster's disk takes some to start, where nobody has used it for long, and so does torch.
ANSWERS, COMPILES, LOADS = 30.0, 300.0, 120.0
#: So many seconds after it hung, a compiler is tried again.
FORGETS = 3600.0


def find_compiler() -> list[str]:
    """The C++ compiler's command: $CXX, which may hold options, or the first one on the path.

    Raises:
        LookupError: there is none.
        ValueError: a quotation in $CXX does not end.
    """
    found = (path for name in ("c++", "g++", "clang++") if (path := shutil.which(name)))
    command = shlex.split(os.environ.get("CXX", "")) or [next(found, "")]
    if not command[0]:
        raise LookupError("no C++ compiler")
    return command


@contextmanager
def noted_hang(command: Sequence[str]) -> Iterator[None]:
    """Within, a compiler that hangs is remembered, and not waited for by each process anew. Raises a HangError."""
    program = shutil.which(command[0])
    stamp = os.stat(program).st_mtime_ns if program else None
    name = f"hang-{digest(repr((command, program, stamp)).encode())[:16]}"
    hung = recall(name)
    if isinstance(hung, float) and 0 <= (since := time.time() - hung) < FORGETS:
        told = f"{command[0]}, or what it compiles, did not end when tried {since / 60:.0f} min ago"
        raise HangError(f"{told}; it is tried again after an hour")
    try:
        yield
    except HangError:
        remember(name, time.time())
        raise


def read_macros(command: Sequence[str]) -> bytes:
    """What the compiler defines: its version and the processor's features. Raises a RuntimeError."""
    return run_program([*command, *FLAGS, "-x", "c++", "-dM", "-E", os.devnull], ANSWERS)


def read_version(macros: str) -> str:
    """The compiler's name and version: GNU's __VERSION__ is a number, Clang's begins with a name."""
    found = re.search(r'#define __VERSION__ "([^"\n]+)"', macros)
    version = found[1] if found else "unknown"
    return f"g++ {version}" if version[0].isdigit() else version


def describe_compiler(command: Sequence[str], macros: bytes) -> str:
    """All that decides what was compiled: the compiler by version, not by place, its options, and what these define."""
    options = " ".join((*command[1:], *FLAGS))
    return f"ours ({read_version(macros.decode(errors='replace'))} {options}, defines {digest(macros)[:8]})"


@contextmanager
def built(command: Sequence[str], macros: bytes) -> Iterator[Path]:
    """Within, the kernels' file: from the cache, compiled before or now; one that is found not to load is not kept.

    Where others may write to the cache, it is compiled for this process alone.

    Raises:
        RuntimeError: they do not compile.
        OSError: they cannot be kept.
    """
    sources = (source.read_bytes() for source in SOURCES)
    key = digest(b"\0".join((*sources, repr(([*command], FLAGS)).encode(), macros)))
    file = cache_file(f"kernels-{key[:32]}.so")
    if find_stranger(file) or not is_whole(file):
        library = compile_library(command)
        try:
            keep(file, library)
        except UntrustedError as error:
            logging.getLogger(__name__).warning("kernels are compiled for this process alone: %s", error)
            with private_folder() as folder:
                file = folder / file.name
                file.write_bytes(library)
                yield file
            return
    try:
        yield file
    except (OSError, RuntimeError):
        file.unlink(missing_ok=True)
        raise


#: Loads a library as we do, beside torch's OpenMP.
LOAD = """
import ctypes, sys
try:
    import torch
except ImportError:
    pass
try:
    ctypes.CDLL(sys.argv[1])
except OSError as error:
    sys.exit(str(error))
print("loaded")
"""


def compile_library(command: Sequence[str]) -> bytes:
    """The library, and after its end, where no loader looks, its SHA-256. Raises a RuntimeError or an OSError."""
    sources = [str(source) for source in SOURCES if source.suffix == ".cpp"]
    with private_folder() as folder:
        file = folder / "kernels.so"
        run_program([*command, *FLAGS, *sources, "-o", str(file)], COMPILES)
        if not file.is_file():
            raise RuntimeError(f"{command[0]} compiles to no file")
        try_loading(file)
        content = file.read_bytes()
    return content + digest(content).encode()


def try_loading(file: Path) -> None:
    """Load a library in a process of its own, which it may end, as a sanitizer's does.

    Raises:
        RuntimeError: it does not load, or takes too long.
        OSError: there is no place for what is printed.
    """
    try:
        printed = run_program([sys.executable, "-P", "-c", LOAD, str(file)], LOADS)
    except RuntimeError as error:
        told = str(error).removeprefix(f"{sys.executable} ")
        raise type(error)(f"what was compiled cannot be loaded: Python {told}") from None
    if not printed.endswith(b"loaded\n"):
        raise RuntimeError("what was compiled cannot be loaded: it ends Python")


def is_whole(file: Path) -> bool:
    """Whether a library has its SHA-256 at its end."""
    if not file.is_file():
        return False
    content = file.read_bytes()
    return digest(content[:-SEAL]).encode() == content[-SEAL:]
