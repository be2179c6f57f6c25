"""Compiles and loads what this folder has in C++, once, on first use, for this processor and by the user's compiler.

Where that cannot be, all is as in torch, and one line of the log says why.
"""

import ctypes
import logging
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from convnext_path.files import cache_file, digest, keep
from convnext_path.frozen import choose

FOLDER = Path(__file__).parent
SOURCES = tuple(FOLDER / name for name in ("channels.cpp", "depthwise.cpp", "gelu.cpp", "vectors.h"))
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp")  # torch's own OpenMP is there already
SEAL = len(digest(b""))
#: What the functions compute in, and how that ends their names.
TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}

Choice = Literal["auto", "stock", "triton"]

_choice = os.environ.get("CONVNEXT_PATH_KERNELS") or "auto"


def chosen() -> str:
    """A :data:`Choice`: ours on a CPU and torch's on a GPU; torch's; ours on both.

    On a GPU ours are tested by Triton's interpreter alone, and their speed is not measured.

    Raises:
        ValueError: the variable ``CONVNEXT_PATH_KERNELS`` holds another word.
    """
    return choose("CONVNEXT_PATH_KERNELS", _choice, get_args(Choice))


@contextmanager
def use_kernels(choice: Choice) -> Iterator[None]:
    """Within, choose as the variable ``CONVNEXT_PATH_KERNELS`` does otherwise."""
    global _choice
    before, _choice = _choice, choice
    try:
        yield
    finally:
        _choice = before


def is_ready(device: torch.device) -> bool:
    """Whether there are kernels for a device and they are asked for, in what is no trace for others to run."""
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if traced or chosen() == "stock":
        return False
    if device.type == "cuda":
        return chosen() == "triton" and not torch.compiler.is_compiling() and has_triton()
    return device.type == "cpu" and is_loaded()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_loaded() -> bool:
    return load().functions is not None


@cache
def has_triton() -> bool:
    return find_spec("triton") is not None


def describe(device: torch.device) -> str:
    """What trains there, as far as rounding hangs on it: "ours (g++ 12.2.0 -O3 ...)", or "stock (asked for)".

    Raises:
        ValueError: as :func:`chosen`.
    """
    if chosen() == "stock":
        return "stock (asked for)"
    if device.type == "cpu":
        return load().title
    return f"triton {version('triton')}" if is_ready(device) else "stock"


class Library(NamedTuple):
    """The compiled kernels, None where there are none, and what :func:`describe` says of them."""

    functions: ctypes.CDLL | None
    title: str


@cache
def load() -> Library:
    """Load the kernels, after compiling them if the cache has none that are whole. Starts no thread."""
    try:
        compiler = find_compiler()
        macros = run(*compiler, *FLAGS, "-x", "c++", "-dM", "-E", os.devnull)  # with version and processor's features
        sources = (source.read_bytes() for source in SOURCES)
        key = digest(b"\0".join((*sources, repr((compiler, FLAGS)).encode(), macros)))
        file = cache_file(f"kernels-{key[:32]}.so")
        if not is_whole(file):
            keep(file, compile_library(compiler))
        return Library(declare(ctypes.CDLL(str(file))), describe_compiler(compiler, macros))
    except (LookupError, OSError, RuntimeError, ValueError) as error:
        logging.getLogger(__name__).warning("networks train at torch's own speed: %s", error)
        # No more than this: records hold it, and are compared.
        return Library(None, f"stock ({error if isinstance(error, LookupError) else 'kernels not built'})")


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


def run(*command: str) -> bytes:
    """What a command prints. A RuntimeError, with the first line of its complaint, where it fails."""
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        complaint = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise RuntimeError(f"{command[0]} fails: {complaint or error.returncode}") from None


def read_version(macros: str) -> str:
    """The compiler's name and version: GNU's __VERSION__ is a number, Clang's begins with a name."""
    found = re.search(r'#define __VERSION__ "([^"]+)"', macros)
    version = found[1] if found else "unknown"
    return f"g++ {version}" if version[0].isdigit() else version


def describe_compiler(compiler: list[str], macros: bytes) -> str:
    """All that decides what was compiled: the compiler by version, not by place, its options, and what these define."""
    options = " ".join((*compiler[1:], *FLAGS))
    return f"ours ({read_version(macros.decode())} {options}, defines {digest(macros)[:8]})"


def compile_library(compiler: list[str]) -> bytes:
    """The library, and after its end, where no loader looks, its SHA-256."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernels.so"
        run(*compiler, *FLAGS, *(str(source) for source in SOURCES if source.suffix == ".cpp"), "-o", str(file))
        content = file.read_bytes()
    return content + digest(content).encode()


def is_whole(file: Path) -> bool:
    if not file.exists():
        return False
    content = file.read_bytes()
    return digest(content[:-SEAL]).encode() == content[-SEAL:]


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes what the functions take and return."""
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.depthwise_scratch.argtypes, library.depthwise_scratch.restype = [pointer, ctypes.c_int], number
    library.channels_scratch.argtypes, library.channels_scratch.restype = [number] * 2, number
    takes: dict[str, Sequence[type]] = {
        "depthwise_gradients": [pointer] * 6,
        "gelu": [pointer] * 3 + [number],
        "scale_channels": [number] * 2 + [pointer] * 3,
        "scale_channels_gradients": [number] * 2 + [pointer] * 6,
        "layer_norm": [number, number, pointer, pointer, pointer, ctypes.c_float, pointer, pointer],
        "layer_norm_gradients": [number] * 2 + [pointer] * 8,
        "batch_norm_gradients": [number] * 2 + [pointer] * 9,
    }
    for name, types in takes.items():
        for dtype in TYPES.values():
            if function := getattr(library, f"{name}_{dtype}", None):  # LayerNorm is for bfloat16 alone
                function.argtypes, function.restype = [*types, ctypes.c_int], None
    return library


def computes(x: Tensor) -> bool:
    """Whether the kernels are for such a tensor: dense, float32 or bfloat16, on a CPU; torch.compile has its own."""
    if torch.compiler.is_compiling() or not is_ready(x.device):
        return False
    return x.device.type == "cpu" and x.dtype in TYPES and (x.is_contiguous() or is_channels_last(x))


def is_channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)


def call(name: str, dtype: torch.dtype, *arguments: Tensor | float | None) -> None:
    """Call a function of a type of :data:`TYPES`, by so many threads as torch has, with tensors as pointers."""
    values = [value.data_ptr() if isinstance(value, Tensor) else value for value in arguments]
    getattr(load().functions, f"{name}_{TYPES[dtype]}")(*values, torch.get_num_threads())


def allocate(name: str, *arguments: object) -> Tensor:
    """The scratch that a function wants, float32."""
    return torch.empty(getattr(load().functions, f"{name}_scratch")(*arguments))


def refuse_second_derivative() -> None:
    """For a backward pass of ours. Raises a RuntimeError where it would be differentiated in its turn."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError("our kernels have no second derivative; torch's have: use_kernels('stock')")
