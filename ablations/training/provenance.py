"""What a trial's numbers hang on beside the trial itself: code and versions; processor, kernels, settings.

What needs torch imports it when it is asked, since much of this is looked at where nothing is trained.
"""

import hashlib
import os
import platform
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.study.origin import Facts, Origin
from convnext_path.programs import run_program
from convnext_path.source import strip

if TYPE_CHECKING:
    import torch

#: Packages whose version may change a training's numbers.
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "numpy", "scikit-learn", "pillow")
#: Code that cannot: what it does is seen in a trial's definition, or in nothing.
HARMLESS = ("__init__", "ladder", "steps", "references", "convert", "files", "programs", "source", "trust", "words")
#: Code of ours that trains beside the package's.
TRAINS = ("run", "trainer", "curve")
GIT_ANSWERS = 10.0  # seconds; on a disk that does not answer it never would

#: Settings of the libraries that compute (oneDNN's, MKL's, OpenMP's, torch's, NVIDIA's), as the environment has them.
MATH = re.compile(
    "(ONEDNN|DNNL|MKL|OMP|KMP|GOMP|ATEN|CUBLAS|CUBLASLT|CUDNN|TORCHINDUCTOR)_|NVIDIA_TF32_OVERRIDE"
    "|TORCH_(ALLOW_TF32|BLAS|CUDNN|LINALG|MKLDNN)"
)
#: Of these, what changes no number: threads have a place of their own, and the rest tells, places, waits or caches.
QUIET = re.compile(
    "NUM_THREADS|THREAD_LIMIT|VERBOSE|JIT_DUMP|JIT_PROFILE|AFFINITY|PROC_BIND|PLACES|DISPLAY|BLOCKTIME|WAIT_POLICY"
    "|STACKSIZE|SPINCOUNT|CACHE|LOG|VERSION|HOME|ROOT|PATH|TARGET_OFFLOAD|DUPLICATE_LIB|INIT_AT_FORK"
)


def origin(device: "torch.device", data: str, threads: int = 1) -> Origin:
    """All that decides a trial's numbers beside its definition; ``data`` is the digest of its images and labels."""
    experiment = {"data": data, **dict(list_versions())}
    return Origin(tuple(sorted(experiment.items())), tuple(sorted(list_rounding(device, threads).items())))


def list_versions() -> Facts:
    """The code that trains, and the versions of what it uses."""
    python = ".".join(platform.python_version_tuple()[:2])  # augmentation draws by its random module
    return (("code", code_digest()), ("python", python), *((name, version(name)) for name in PACKAGES))


def list_rounding(device: "torch.device", threads: int) -> dict[str, object]:
    """What decides how sums are rounded: with other values the same experiment gives other bits."""
    import torch

    from convnext_path.kernels import build

    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": processor_name(),
        "instructions": f"{torch.backends.cpu.get_cpu_capability()}: {instructions()}",
        "kernels": build.describe(device),
        "math": math_settings(),
        "threads": threads,
    }


def math_settings() -> str:
    """The variables of the environment that may change how numbers are computed."""
    return " ".join(f"{name}={value}" for name, value in sorted(os.environ.items()) if is_math(name))


def is_math(name: str) -> bool:
    """Whether a variable of the environment may change how numbers are computed."""
    return bool(MATH.match(name)) and not QUIET.search(name)


def environment() -> dict[str, object]:
    """What else a record says of where it was made."""
    return {
        "python": platform.python_version(),
        "commit": git_commit(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }


@cache
def code_digest(root: Path = Path(__file__).parents[2]) -> str:
    """A hash of the code that trains and counts; comments, docstrings and layout have no part in it."""
    package = root / "convnext_path"
    files = sorted(file for file in package.rglob("*.py") if file.stem not in HARMLESS)
    ours = (root / "ablations" / "training" / f"{name}.py" for name in TRAINS)
    code = [strip(file.read_text(encoding="utf-8")) for file in (*files, *ours)]
    code += [source.read_text(encoding="utf-8") for source in sorted((package / "kernels").glob("*.[ch]*"))]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]


@cache
def git_commit() -> str:
    """The commit of the working tree, ``-dirty`` where it was changed since; empty outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return run_program(command, GIT_ANSWERS).decode(errors="replace").strip()
    except (OSError, RuntimeError):
        return ""


@cache
def processor_name() -> str:
    """The processor's model: its name and, as clouds hide much of that, the numbers of family, model and stepping."""
    facts = read_processor()
    numbers = ".".join(facts[name] for name in ("cpu family", "model", "stepping") if name in facts)
    name = facts.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({numbers})" if numbers else name


#: Vector and matrix instructions by the names of /proc/cpuinfo: of x86, then of ARM.
VECTORS = re.compile("avx|amx|fma|f16c|sse4|asimd|sve|sme(?!p)|bf16|i8mm|fphp")


@cache
def instructions() -> str:
    """The processor's vector and matrix instructions, by which libraries choose how they sum."""
    facts = read_processor()
    words = f"{facts.get('flags', '')} {facts.get('Features', '')}".split()
    return " ".join(sorted(word for word in words if VECTORS.match(word))) or platform.machine()


@cache
def read_processor() -> dict[str, str]:
    """What Linux says of the first processor, by name; nothing elsewhere."""
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8").split("\n\n")[0] if file.exists() else ""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
