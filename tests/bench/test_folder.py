import json
from pathlib import Path
from typing import Any

import pytest

from ablations.bench.folder import Benchmark, Rate, check_folder, read_benchmark, write

TERMS = {"rungs": ["gelu"], "batch_size": 4, "sides": (1, 2)}
TABLE = """rung,precision,task,source,macs,images_per_second,peak_memory
gelu,fp32,training,ours,1e6,20,300
gelu,fp32,training,timm,,,
gelu,fp32,inference,ours,1e6,60,0
"""


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    write(tmp_path, TERMS, {"torch": "2"}, TABLE)
    return tmp_path


def test_what_is_written_is_read(bench: Path) -> None:
    rates = {("gelu", "fp32", "training"): Rate(1e6, 20, 300), ("gelu", "fp32", "inference"): Rate(1e6, 60, 0)}
    assert read_benchmark(bench) == Benchmark(4, rates)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("images_per_second", "rate"),
        ("precision", "kind"),
        ("1e6,20", "1e6,0"),
        ("1e6,20", "nan,20"),
        ("1e6,20", ",20"),
        ("1e6,20", "1e6,inf"),
        ("20,300", "20,-1"),
        ("20,300", "20"),
        ("1e6,20", f"{'x' * 200_000},20"),
    ],
)
def test_a_table_that_is_damaged_is_named(bench: Path, old: str, new: str) -> None:
    (bench / "results.csv").write_text(TABLE.replace(old, new))
    with pytest.raises(ValueError, match=r"results.csv is damaged: "):
        read_benchmark(bench)


@pytest.mark.parametrize(
    "terms", ["{", "[]", '{"x": 1}', '{"terms": {}}', '{"terms": [], "here": {}}', "[" * 10**5, "\ud800x"]
)
def test_terms_that_are_no_benchmarks_are_named(bench: Path, terms: str) -> None:
    (bench / "bench.json").write_bytes(terms.encode(errors="surrogatepass"))
    with pytest.raises(ValueError, match=r"bench.json is not a benchmark: "):
        read_benchmark(bench)
    with pytest.raises(ValueError, match="is not empty and contains no benchmark; choose another --out"):
        check_folder(bench, TERMS)


@pytest.mark.parametrize("size", [0, -1, True, "4", None, 4.0])
def test_batches_that_are_none(bench: Path, size: Any) -> None:
    (bench / "bench.json").write_text(json.dumps({"terms": {"batch_size": size}, "here": {}}))
    with pytest.raises(ValueError, match=r"bench.json is not a benchmark of networks: its batch_size is "):
        read_benchmark(bench)


def test_a_benchmark_may_be_made_again_and_no_other_in_its_place(bench: Path) -> None:
    for folder in (bench, bench / "new"):
        check_folder(folder, TERMS)
    with pytest.raises(
        ValueError, match=r"contains another benchmark \(batch_size, more differ\); choose another --out"
    ):
        check_folder(bench, {**TERMS, "batch_size": 8, "more": 1})
