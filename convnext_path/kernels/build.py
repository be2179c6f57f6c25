"""The kernels that this folder has in C++: loaded once, on first use, and called by name.

Where they cannot be had, all is as in torch, and one line of the log says why.
"""

import ctypes
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from convnext_path.frozen import choose
from convnext_path.kernels import compiler

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
        command = compiler.find_compiler()
        with compiler.noted_hang(command):
            macros = compiler.read_macros(command)
            with compiler.built(command, macros) as file:
                library = declare(ctypes.CDLL(str(file)))
        return Library(library, compiler.describe_compiler(command, macros))
    except (LookupError, OSError, RuntimeError, ValueError) as error:
        logging.getLogger(__name__).warning("networks train at torch's own speed: %s", error)
        # No more than this: records hold it, and are compared.
        return Library(None, f"stock ({error if isinstance(error, LookupError) else 'kernels not built'})")


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes what the functions take and return. Raises a RuntimeError where one is not there."""
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    scratch: dict[str, Sequence[type]] = {"depthwise": [pointer, ctypes.c_int], "channels": [number] * 2}
    for name, types in scratch.items():
        function = find_function(library, f"{name}_scratch")
        function.argtypes, function.restype = types, number
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
        for dtype in ["bfloat16"] if name.startswith("layer_norm") else TYPES.values():
            function = find_function(library, f"{name}_{dtype}")
            function.argtypes, function.restype = [*types, ctypes.c_int], None
    return library


def find_function(library: ctypes.CDLL, name: str) -> Any:
    try:
        return getattr(library, name)
    except AttributeError:
        raise RuntimeError(f"what was compiled has no {name}") from None


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
        raise RuntimeError(
            "this project's kernels have no second derivative; torch's kernels have one: use_kernels('stock')"
        )
