import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ablations.analysis.tables import agrees
from ablations.report.readme import count_all
from convnext_path import LADDERS, NANO, RECIPES, Flags, PathNet, counting, tracing
from convnext_path.counting import (
    PUBLISHED,
    Network,
    count_kept,
    count_network,
    find_network,
    look_up,
    make_key,
    networks_digest,
    read_published,
    read_row,
    trace_cost,
    trace_kept,
)
from convnext_path.files import cache_file
from convnext_path.networks.peer_names import PeerFlags, PeerScale

RECIPE = RECIPES["imagenet"]["enhanced"]
SMALL = 10, 1, 32  # classes, channels, side: nothing is published of them


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins as a process does."""
    look_up.cache_clear()
    read_published.cache_clear()


def forbid(*args: object) -> None:
    raise AssertionError("counted")


def no_more_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process that must not count."""
    look_up.cache_clear()
    for name in ("cost", "count_kept"):
        monkeypatch.setattr(tracing, name, forbid)


@pytest.fixture(scope="module")
def costs() -> dict:
    """The committed oracle."""
    return json.loads(PUBLISHED.read_text())


@pytest.mark.torture
def test_the_committed_oracle_is_current(costs: dict) -> None:
    assert costs == json.loads(json.dumps(count_all()))


@pytest.mark.parametrize("ladder", LADDERS)
def test_the_committed_oracle_is_of_todays_code_and_counts_both_ends(ladder: str, costs: dict) -> None:
    assert costs["code"] == networks_digest(), "make readme counts anew"
    rungs, rows = LADDERS[ladder], costs["ladders"][ladder]
    assert [row["rung"] for row in rows] == [rung.name for rung in rungs]
    for place in (0, len(rungs) // 2, -1) if "nano" in ladder else (-1,):
        assert read_row(rows[place]) == (trace_cost(network := find_network(rungs[place])), trace_kept(network))


def test_thirty_of_thirty_two_distinct_rows_agree_to_the_printed_digit(costs: dict) -> None:
    published = [
        row for row in costs["ladders"]["convnext-t"] + costs["ladders"]["convnext-b"] if row["paper_gmacs"] is not None
    ]
    disagree = [(row["ladder"], row["rung"]) for row in published if not agrees(row)]
    assert disagree == [("convnext-t", "layer_norm"), ("convnext-t", "separate_downsampling")]
    assert len(published) - 2 == 32  # the two recipes of a ResNet are one row of costs


@pytest.mark.parametrize("ladder", ["convnext-t", "convnext-b", "convnext-nano"])
def test_fvcore_agrees_with_torchs_own_counter_on_every_rung(ladder: str, costs: dict) -> None:
    for rung, row in zip(LADDERS[ladder], costs["ladders"][ladder], strict=True):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            PathNet(rung.flags, rung.scale)(torch.zeros(1, 3, 224, 224))
        assert row["macs"] == counter.get_total_flops() / 2  # a multiplication and an addition each


def test_what_is_published_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    no_more_counting(monkeypatch)
    for ladder, rows in json.loads(PUBLISHED.read_text())["ladders"].items():
        for rung, row in zip(LADDERS[ladder], rows, strict=True):
            design = rung.flags, rung.scale, RECIPES["imagenet"][rung.recipe]
            found = count_network(*design)
            assert (found.params, found.paper_macs, found.all_macs) == (row["params"], row["macs"], row["macs_all"])
            assert count_kept(*design) == row["kept"]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"code": "0", "ladders": {}}'])
def test_without_published_costs_they_are_counted(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "costs.json").write_text(content)
    monkeypatch.setattr(counting, "PUBLISHED", tmp_path / "costs.json")
    assert read_published() == {}


def test_published_costs_of_other_code_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({**json.loads(PUBLISHED.read_text()), "code": "another"}))
    monkeypatch.setattr(counting, "PUBLISHED", file)
    assert read_published() == {}


def test_a_count_is_kept_for_the_next_process(monkeypatch: pytest.MonkeyPatch) -> None:
    found = count_network(Flags(), NANO, RECIPE, *SMALL), count_kept(Flags(), NANO, RECIPE, *SMALL)
    assert found[0] == trace_cost(Network(Flags(), NANO, True, *SMALL))
    assert found[1] > 32 * 32
    no_more_counting(monkeypatch)
    other = replace(RECIPE, epochs=1, drop_path=0.5, init="kaiming_normal", layer_scale=0.5)
    assert (count_network(Flags(), NANO, other, *SMALL), count_kept(Flags(), NANO, other, *SMALL)) == found
    with pytest.raises(AssertionError, match="counted"):
        count_network(Flags(), NANO, replace(RECIPE, layer_scale=None), *SMALL)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"params": 1}', '{"params": "1", "macs": [], "activations": 0}', "\udcff", "1"]
)
def test_a_damaged_cache_means_another_count(content: str) -> None:
    before = count_network(Flags(), NANO, RECIPE, *SMALL)
    (file,) = cache_file("x").parent.glob("cost-*.json")
    whole = file.read_bytes()
    file.write_bytes(content.encode(errors="surrogateescape"))
    look_up.cache_clear()
    assert count_network(Flags(), NANO, RECIPE, *SMALL) == before
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_means_another_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert count_network(Flags(), NANO, RECIPE, *SMALL).params > 0


def test_a_key_holds_all_that_a_count_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(Flags(), NANO, True, *SMALL)
    changes: list[dict[str, Any]] = [
        {"flags": Flags(gelu=True)},
        {"scale": replace(NANO, width=24)},
        *({"layer_scale": False}, {"num_classes": 11}, {"in_channels": 3}, {"image_size": 33}),
    ]
    keys = [make_key(network), *(make_key(replace(network, **change)) for change in changes)]
    peer = Network(PeerFlags(), PeerScale("timm", "resnet18"), True, *SMALL)
    keys.append(make_key(peer))
    monkeypatch.setattr(counting, "version", lambda package: "2" if package == "timm" else "1")
    keys += [make_key(network), make_key(peer)]
    monkeypatch.setattr(counting, "version", lambda package: "1")
    keys.append(make_key(peer))
    monkeypatch.setattr(counting, "networks_digest", lambda: "other code")
    keys.append(make_key(network))
    assert len({*keys}) == len(keys)


def test_the_digest_follows_the_code_of_networks(tmp_path: Path) -> None:
    package = Path(counting.__file__).parent
    shutil.copytree(package, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))

    def append(name: str, text: str) -> str:
        with (tmp_path / "copy" / name).open("a") as file:
            file.write(text)
        networks_digest.cache_clear()
        return networks_digest(tmp_path / "copy")

    same = networks_digest(package), append("ladder.py", "\nx = 1\n"), append("networks/path.py", "\n# a comment\n")
    assert len({*same}) == 1
    digests = [append(name, "\nx = 1\n") for name in ("networks/path.py", "kernels/build.py", "tracing.py")]
    assert len({*same, *digests}) == 4


def test_each_rung_has_a_network_of_its_own() -> None:
    rungs = [rung for name in ("convnext-t", "convnext-b") for rung in LADDERS[name]]
    assert len({find_network(rung) for rung in rungs}) == len(rungs)
