"""Depthwise convolutions that train fast on a CPU: the gradient by the weight is a kernel of our own.

A ConvNeXt's training step waits for that gradient: torch 2.15 (oneDNN) computes it at a hundredth to a fifth of the
speed of the forward pass. ``depthwise.cpp`` is compiled once, on first use, for this processor. Where that cannot
be, all is as in torch, and one line of the log says why.
"""

import ctypes
import hashlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnext_path.files import cache_file, keep

SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp")  # torch's own OpenMP is there already
#: Sides of the kernels that are faster here, whatever else their shape. For the weight gradient of 24 to 768 channels
#: of 56 to 1 pixels a side, batch 16 and 64, stride 1 and 2, float32 and bfloat16, 1 and 2 threads, channels-last or
#: not, torch 2.15 takes 5 to 1,700 times as long (EPYC with AVX-512). For side 3 it takes 0.4 to 2 times as long.
KERNELS = (5, 7, 9, 11)
SEAL = hashlib.sha256().digest_size

_stock = os.environ.get("CONVNEXT_PATH_DEPTHWISE") == "stock"


@contextmanager
def stock_convolutions() -> Iterator[None]:
    """Within, depthwise convolutions are torch's own, as with ``CONVNEXT_PATH_DEPTHWISE=stock``."""
    global _stock
    before, _stock = _stock, True
    try:
        yield
    finally:
        _stock = before


def describe() -> str:
    """What trains here: "fused (g++ 12.2.0)", since rounding hangs on the compiler, or "stock (no C++ compiler)"."""
    return "stock (asked for)" if _stock else load().title


class Library(NamedTuple):
    """The compiled kernel, None where there is none, and what :func:`describe` says of it."""

    functions: ctypes.CDLL | None
    title: str


@cache
def load() -> Library:
    """Load the kernel, after compiling it if the cache has none that is whole. Starts no thread."""
    try:
        compiler = find_compiler()
        macros = run(*compiler, *FLAGS, "-x", "c++", "-dM", "-E", os.devnull)  # with version and processor's features
        key = hashlib.sha256(b"\0".join((SOURCE.read_bytes(), repr((compiler, FLAGS)).encode(), macros))).hexdigest()
        file = cache_file(f"depthwise-{key[:32]}.so")
        if not is_whole(file):
            keep(file, compile_library(compiler))
        return Library(declare(ctypes.CDLL(str(file))), f"fused ({read_version(macros.decode())})")
    except (LookupError, OSError, RuntimeError, ValueError) as error:
        logging.getLogger(__name__).warning("depthwise convolutions train at torch's own speed: %s", error)
        # No more than this: records hold it, and are compared.
        return Library(None, f"stock ({error if isinstance(error, LookupError) else 'kernel not built'})")


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


def compile_library(compiler: list[str]) -> bytes:
    """The library, and after its end, where no loader looks, its SHA-256."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "depthwise.so"
        run(*compiler, *FLAGS, str(SOURCE), "-o", str(file))
        content = file.read_bytes()
    return content + hashlib.sha256(content).digest()


def is_whole(file: Path) -> bool:
    if not file.exists():
        return False
    content = file.read_bytes()
    return hashlib.sha256(content[:-SEAL]).digest() == content[-SEAL:]


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes what the functions take."""
    library.scratch_size.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.scratch_size.restype = ctypes.c_int64
    for function in (library.gradients_float32, library.gradients_bfloat16):
        function.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_int]
        function.restype = None
    return library


@torch.library.custom_op("convnext_path::depthwise_gradients", mutates_args=())
def depthwise_gradients(x: Tensor, grad: Tensor, kernel: int, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    """Gradients by the weight (C, 1, kernel, kernel) and the bias (C), float32 sums whatever the inputs are.

    To the bit the same for any number of threads.

    Args:
        x, grad: the convolution's input (N, C, H, W) and the gradient by its output, float32 or bfloat16 both.
            Copied unless they are channels-last.
        kernel, stride, padding: of the convolution, for height and width alike; :func:`fuses` says which will do.
    """
    library = load().functions
    assert library is not None
    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    (images, channels, *sides), threads = x.shape, torch.get_num_threads()
    shape = (ctypes.c_int64 * 9)(images, channels, *sides, *grad.shape[2:], kernel, stride, padding)
    weight, bias = (
        x.new_empty(channels, 1, kernel, kernel, dtype=torch.float32),
        x.new_empty(channels, dtype=torch.float32),
    )
    scratch = torch.empty(library.scratch_size(shape, threads))
    function = library.gradients_float32 if x.dtype == torch.float32 else library.gradients_bfloat16
    function(shape, *(t.data_ptr() for t in (x, grad, weight, bias, scratch)), threads)
    return weight, bias


@depthwise_gradients.register_fake
def _(x: Tensor, grad: Tensor, kernel: int, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    weight = x.new_empty(x.shape[1], 1, kernel, kernel, dtype=torch.float32)
    return weight, x.new_empty(x.shape[1], dtype=torch.float32)


class Convolution(torch.autograd.Function):
    """A depthwise convolution whose gradients by weight and bias are the kernel's. Twice it is not differentiable."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise RuntimeError("fused depthwise convolutions have no second derivative: use stock_convolutions()")
        x, weight = ctx.saved_tensors
        by_x = input_gradient(x, weight, grad, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        sums = depthwise_gradients(x, grad, weight.shape[-1], ctx.stride, ctx.padding)
        by_weight, by_bias = (sum.to(weight.dtype) for sum in sums)
        return by_x, by_weight, by_bias if ctx.needs_input_grad[2] else None, None, None


def input_gradient(x: Tensor, weight: Tensor, grad: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient by ``x``, of which only type and layout are read, by the faster of torch's own ways."""
    if stride == 1:  # a convolution with the flipped kernel: twice as fast
        with torch.autocast("cpu", enabled=False):  # types are chosen already
            return F.conv2d(grad, weight.flip(2, 3), padding=weight.shape[-1] - 1 - padding, groups=len(weight))
    x32 = torch.empty_like(x, dtype=torch.float32)  # bfloat16 takes 30 times as long
    terms = (grad.float(), x32, weight.float(), None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(weight))
    by_x: Tensor = torch.ops.aten.convolution_backward(*terms, [True, False, False])[0]
    return by_x.to(x.dtype)


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """What ``conv`` makes of (N, C, H, W) where :func:`fuses` holds, in autocast's type where that is on."""
    weight, bias, padding = conv.weight, conv.bias, cast(tuple[int, int], conv.padding)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    result: Tensor = Convolution.apply(x, weight, bias, conv.stride[0], padding[0])
    return result


def fuses(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether the kernel is there and right for what is about to happen: training ``conv`` on a CPU."""
    return not _stock and is_trained(conv.weight, x) and has_kernel(conv) and is_loaded()


def is_trained(weight: Tensor, x: Tensor) -> bool:
    """Whether backward will ask for the gradient by ``weight``, on a CPU, in a type of the kernel's."""
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    dtypes = {x.dtype, weight.dtype}
    if torch.is_autocast_enabled("cpu") and dtypes <= {torch.float32, torch.bfloat16}:
        dtypes = {torch.get_autocast_dtype("cpu")}
    return (
        torch.is_grad_enabled()
        and weight.requires_grad
        and not traced
        and dtypes in ({torch.float32}, {torch.bfloat16})
        and x.device.type == weight.device.type == "cpu"
        and x.ndim == 4
        and x.numel() > 0
    )


def has_kernel(conv: nn.Conv2d) -> bool:
    """Whether ``conv`` is depthwise and of a shape that ``depthwise.cpp`` was written for."""
    size, stride, padding = conv.kernel_size[0], conv.stride[0], conv.padding[0]
    square = (conv.kernel_size, conv.stride, conv.padding) == ((size, size), (stride, stride), (padding, padding))
    depthwise = conv.groups == conv.in_channels == conv.out_channels
    plain = conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    return square and depthwise and plain and size in KERNELS and stride in (1, 2) and int(padding) < size


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_loaded() -> bool:
    return load().functions is not None
