"""Weights as people have them in files: whoever saved them, and whatever lies around them. Nothing in a file is run."""

import io
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from typing import NoReturn

import torch
from torch import Tensor
from torch.serialization import safe_globals

from convnext_path.networks.weight_sets import EXTRAS, choose_set, find_prefix, is_same, refuse_several
from convnext_path.words import shorten

#: Where a file has several sets of weights, the first of these is taken: as they were trained, before their averages.
SETS = (
    *(
        "state_dict",
        "model_state_dict",
        "model",
        "module",
        "network",
        "net",
        "backbone",
        "weights",
        "params",
        "student",
    ),
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "teacher"),
)
DEEPEST = 8  # mappings in mappings
#: What wraps a network, or a part of one, names itself in the names of all that it holds.
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
#: What to do about a file with more in it than may be read.
ADVICE = "save the state dict alone: torch.save(net.state_dict(), FILE)"


class Inert:
    """Stands for a plain value beside the weights, of which nothing is kept."""

    def __new__(cls, *values: object) -> "Inert":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def forget_items(*values: object) -> dict[object, object]:
    """Stands for a mapping of a kind that torch does not fill."""
    return {}


def forget_list(*values: object) -> list[object]:
    return []


#: Classes of plain values by module, which checkpoints hold beside the weights. None of them is made.
PLAIN = {
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "builtins": "bool int float complex str bytes bytearray tuple list dict set frozenset slice range",
    "__builtin__": "bool int float complex str bytes bytearray tuple list dict set frozenset slice xrange long unicode",
    "pathlib": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
    "pathlib._local": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
    "datetime": "datetime date time timedelta timezone",
    "decimal": "Decimal",
    "uuid": "UUID",
    "numpy": "dtype ndarray",
    "numpy.core.multiarray": "scalar _reconstruct",
    "numpy._core.multiarray": "scalar _reconstruct",
    "numpy._core.numeric": "_frombuffer",
    "numpy.core.numeric": "_frombuffer",
}
STANDINS = [(Inert, f"{module}.{name}") for module, names in PLAIN.items() for name in names.split()]
FILLED = [(forget_items, "collections.defaultdict"), (forget_list, "collections.deque")]


def read_weights(content: bytes) -> "OrderedDict[str, Tensor]":
    """The tensors in a file by name, in single precision where they have decimals.

    It may be torch's or safetensors'; they may lie in mappings of the names in :data:`SETS`, beside plain values.

    Raises:
        ValueError: there are none; the message tells what there is, and what to do.
    """
    found = load_safetensors(content) if is_safetensors(content) else load_torch(content)
    weights = find_weights(found)
    if not weights:
        keys = [str(key) for key in found] if isinstance(found, Mapping) else []
        held = f"only {shorten(keys, 5)}" if keys else f"only a {type(found).__name__}"
        raise ValueError(f"it contains no weights (tensors by name), {held}")
    for name, tensor in weights.items():
        weights[name] = read_values(name, tensor)
    return weights


def read_values(name: str, tensor: Tensor) -> Tensor:
    """A tensor in single precision where it has decimals.

    Raises:
        ValueError: values that are no numbers, complex, or stored in another way than one after another.
    """
    if tensor.is_meta:
        raise ValueError(f"it does not contain the values of {name}")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        refuse_kind(name, tensor)
    if not tensor.is_floating_point():
        return tensor
    try:
        values = tensor.float()
    except NotImplementedError:  # several in a byte
        refuse_kind(name, tensor)
    if not values.isfinite().all():
        raise ValueError(f"it holds values of {name} that are not finite: the training that made it had failed")
    return values


def refuse_kind(name: str, tensor: Tensor) -> NoReturn:
    kind = str(tensor.dtype if tensor.layout == torch.strided else tensor.layout).removeprefix("torch.")
    raise ValueError(f"it holds {name} as {kind}: weights are dense tensors of floating-point numbers")


def is_safetensors(content: bytes) -> bool:
    """Whether it begins with the length of a header, and that in JSON."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8


def load_safetensors(content: bytes) -> object:
    if find_spec("safetensors") is None:
        raise ValueError("it contains safetensors; to read them: pip install safetensors")
    import safetensors.torch

    try:
        return safetensors.torch.load(content)
    except Exception as error:  # noqa: BLE001 - of several kinds, its own among them
        raise ValueError(f"it contains no safetensors that can be read: {error}") from None


def load_torch(content: bytes) -> object:
    """What torch saved, of tensors and plain values."""
    with safe_globals([*STANDINS, *FILLED]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickle's protocol
        try:
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001 - torch raises whatever a damaged file leads to
            raise ValueError(explain(content, error)) from None


def explain(content: bytes, error: Exception) -> str:
    """Why torch cannot load a file, in a sentence."""
    told = str(error)
    if kind := name_kind(content):
        return kind
    if foreign := re.search(r"GLOBAL ([\w.]+) (?:was not|whose module)", told):
        return f"besides weights it contains a {foreign[1]}, which could run code and is not loaded: {ADVICE}"
    if "TorchScript" in told:
        return f"it is a program of TorchScript: {ADVICE}"
    if isinstance(error, EOFError) or "EOF" in told:
        return "it is cut off"
    return f"it contains no weights that torch can load ({type(error).__name__})"


def name_kind(content: bytes) -> str:
    """What a file is instead, by how it begins; empty where that tells nothing."""
    text = content[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not content:
        return "it is empty"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "it is a web page: the download failed"
    if text.startswith(b"version https://git-lfs"):
        return "it is only a git-lfs pointer: run git lfs pull to fetch the file"
    if content[257:262] == b"ustar" or text.startswith((b"\x1f\x8b", b"bzh", b"\xfd7zxz", b"\x28\xb5\x2f\xfd", b"7z")):
        return "it is an archive: unpack it first"
    if text.startswith(b"\x89hdf"):
        return "it is HDF5, which torch does not read"
    return name_zip(content) if content.startswith(b"PK") else ""


def name_zip(content: bytes) -> str:
    """What is wrong with a zip archive, as torch's files are; empty where that is for torch to say."""
    try:
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return "it is cut off or damaged"
    return "" if any(name.endswith("/data.pkl") for name in names) else "it is a zip archive without tensors"


def find_weights(found: object, depth: int = 0) -> "OrderedDict[str, Tensor]":
    """The tensors by name in a mapping, or in mappings within; none where there are none.

    Raises:
        ValueError: there are several sets, and their names do not tell which was trained.
    """
    if not isinstance(found, Mapping) or depth > DEEPEST:
        return OrderedDict()
    named = {name: value for name, value in found.items() if isinstance(name, str)}
    own = OrderedDict((name, value) for name, value in named.items() if isinstance(value, Tensor))
    own._metadata = getattr(found, "_metadata", {})  # type: ignore[attr-defined]  # versions, which some read
    known = [name for name in SETS if isinstance(named.get(name), Mapping)]
    for name in known:
        if weights := find_weights(named[name], depth + 1):
            return weights
    if len(own) > 1:  # beside sets, one may be a score
        return own
    sets = {name: weights for name, value in named.items() if (weights := find_weights(value, depth + 1))}
    return sets[choose_set(sets)] if sets else own


def clean_names(weights: "OrderedDict[str, Tensor]", expected: Collection[str]) -> "OrderedDict[str, Tensor]":
    """The weights without what stood around the network: its :data:`WRAPPERS`, and its place in a larger one.

    ``expected``: the network's own names; what they have of this stays. Of :data:`EXTRAS` these alone stay.

    Raises:
        ValueError: there are several sets of weights, and their names do not tell which was trained; or the network's
            are no plain tensors with decimals.
    """
    expected = {*expected}
    wrapped = {*WRAPPERS} - {part for name in expected for part in name.split(".")}
    short = {name: ".".join(part for part in name.split(".") if part not in wrapped) for name in weights}
    named = name_once(weights, short)
    prefix, others = find_prefix({n: w for n, w in named.items() if not n.endswith(EXTRAS)}, expected)
    bare = {n.removeprefix(prefix): w for n, w in named.items() if n.startswith(prefix) and not n.startswith(others)}
    kept = OrderedDict((n, w) for n, w in bare.items() if n in expected or not n.endswith(EXTRAS))
    refuse_odd(kept, expected)
    versions = getattr(weights, "_metadata", {})
    places = {name: [part for part in name.split(".") if part not in wrapped] for name in versions}
    kept._metadata = {  # type: ignore[attr-defined]
        ".".join([*parts, ""]).removeprefix(prefix).rstrip("."): versions[name] for name, parts in places.items()
    }
    return kept


def name_once(weights: Mapping[str, Tensor], short: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights by their short names. Raises a ValueError where two that differ have the same."""
    first: dict[str, str] = {}
    for name, one in short.items():
        other = first.setdefault(one, name)
        if other != name and not is_same(weights[other], weights[name]):
            refuse_several([other, name])
    return {one: weights[name] for one, name in first.items()}


def refuse_odd(weights: Mapping[str, Tensor], names: Collection[str]) -> None:
    """Raise a ValueError where one of some names is no dense tensor with decimals; :data:`EXTRAS` may be integers."""
    for name, tensor in weights.items():
        plain = tensor.layout == torch.strided and tensor.is_floating_point()
        if name in names and not plain and not name.endswith(EXTRAS):
            refuse_kind(name, tensor)


def refuse_misfits(wrong: Mapping[str, Sequence[str]], beginning: str = "") -> None:
    """Raise a ValueError that lists the first names of each kind of misfit, if there are any."""
    if told := list_misfits(wrong):
        raise ValueError(f"{beginning}{told}")


def list_misfits(wrong: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{what}: {shorten(names, 3)}" for what, names in wrong.items() if names)
