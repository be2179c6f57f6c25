"""A benchmark's folder: what was measured, where, by which code, and the table of what came out."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convnext_path.files import parse_json, read_regular, read_text, write_whole

TERMS, TABLE = "bench.json", "results.csv"

Case = tuple[str, str, str]  # rung, precision, task


@dataclass(frozen=True)
class Rate:
    """What one of our networks did in a case."""

    macs: float  # of an image
    images_per_second: float
    peak_memory: float  # bytes


@dataclass(frozen=True)
class Benchmark:
    """What a plan reads of a benchmark: its batches, and our rates."""

    batch_size: int
    rates: Mapping[Case, Rate]


def check_folder(folder: Path, terms: Mapping[str, object]) -> None:
    """Refuse to write over files of others, or over a benchmark of other terms.

    Raises:
        ValueError: the folder is neither new, nor empty, nor a benchmark of these terms.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        there = read_terms(folder)
    except (ValueError, OSError):
        raise ValueError(f"{folder} is not empty and contains no benchmark; choose another --out") from None
    asked = parse_json(json.dumps(terms).encode())
    if differs := [name for name in {**there, **asked} if there.get(name) != asked.get(name)]:
        raise ValueError(f"{folder} contains another benchmark ({', '.join(differs)} differ); choose another --out")


def write(folder: Path, terms: Mapping[str, object], here: Mapping[str, object], table: str) -> None:
    """The terms, where they were measured, and a table in CSV. Raises an OSError."""
    write_whole(folder / TERMS, (json.dumps({"terms": terms, "here": here}, indent=1) + "\n").encode())
    write_whole(folder / TABLE, table.encode())


def read_benchmark(folder: Path) -> Benchmark:
    """Read a benchmark of networks.

    Raises:
        ValueError: there is none, or a file of it is damaged; the message names the file.
        OSError: it cannot be read.
    """
    batch_size = read_terms(folder).get("batch_size")
    if type(batch_size) is not int or batch_size < 1:
        raise ValueError(f"{folder / TERMS} is not a benchmark of networks: its batch_size is {batch_size!r}")
    text = read_text(folder / TABLE)
    try:
        rows = [row for row in csv.DictReader(text.splitlines()) if row.get("source") == "ours"]
        return Benchmark(batch_size, {(row["rung"], row["precision"], row["task"]): read_rate(row) for row in rows})
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / TABLE} is damaged: {type(error).__name__}: {error}") from None


def read_terms(folder: Path) -> dict[str, Any]:
    """What was measured. Raises a ValueError where a file of that name is another's, an OSError where there is none."""
    try:
        found = parse_json(read_regular(folder / TERMS))
    except ValueError as error:
        raise ValueError(f"{folder / TERMS} is not a benchmark: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), dict) for name in ("terms", "here")):
        raise ValueError(f"{folder / TERMS} is not a benchmark: it lacks terms or here")
    terms: dict[str, Any] = found["terms"]
    return terms


def read_rate(row: Mapping[str, str]) -> Rate:
    """A row's numbers. Raises a KeyError, TypeError or ValueError where they are none that a benchmark gives."""
    rate = Rate(float(row["macs"]), float(row["images_per_second"]), float(row["peak_memory"]))
    if not (0 < rate.macs < math.inf and 0 < rate.images_per_second < math.inf and 0 <= rate.peak_memory < math.inf):
        raise ValueError(f"{rate} is no measurement")
    return rate
