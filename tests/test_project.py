"""The repository as a whole: set-up files agree, what is generated is current."""

import json
import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ablations.report.readme import BEGIN, README, RESULTS, ROOT, fill, make_tables
from ablations.study.folder import StudyFolder
from convnext_path.counting import PUBLISHED

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read_pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*]+", str(pin.specifier)) and pin.url is None for pin in pins)
    return {canonical(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_requirement_is_pinned_within_its_range() -> None:
    pins = read_pins()
    extras = PROJECT["optional-dependencies"]
    wanted = [Requirement(text) for text in (*PROJECT["dependencies"], *chain.from_iterable(extras.values()))]
    others = [requirement for requirement in wanted if requirement.name != PROJECT["name"]]
    assert len(others) == len(wanted) - 1 > 10  # dev takes the other extras in
    for requirement in others:
        assert requirement.specifier.contains(pins[canonical(requirement.name)]), requirement


def test_environment_yml_has_the_same_pins() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (python,) = [text for text in environment["dependencies"] if str(text).startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == ["--constraint constraints.txt", "--editable .[dev]"]


def test_make_help_lists_the_targets() -> None:
    out = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"ladder", "test", "lint", "cost", "plot", "setup"} <= {line.split()[0] for line in out.splitlines()}


def test_the_readmes_tables_are_current() -> None:
    """The oracle itself is checked in test_counting.py."""
    for file, tables in make_tables(json.loads(PUBLISHED.read_text())["ladders"]).items():
        text = file.read_text()
        assert all(text.count(BEGIN.format(name)) == 1 for name in tables)
        assert fill(text, tables) == text


@pytest.mark.parametrize("file", [README, RESULTS], ids=lambda file: str(file.relative_to(ROOT)))
def test_the_readmes_links_lead_somewhere(file: Path) -> None:
    links = re.findall(r"\]\((?!http|#)([^)#]+)", file.read_text())
    assert links
    assert [link for link in links if not (file.parent / link).exists()] == []


@pytest.mark.parametrize("file", sorted(ROOT.glob("results/**/study.json")), ids=lambda file: file.parent.name)
def test_published_studies_are_whole(file: Path) -> None:
    study = StudyFolder(file.parent)
    assert study.faults() == {}
    assert len(study.results()) == len(study.plan().trials())


def test_results_hold_no_data_and_stay_small() -> None:
    command = ["git", "-C", str(ROOT), "ls-files", "results"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listing.stdout.splitlines()]
    assert sum(file.stat().st_size for file in files if file.exists()) < 10e6
    assert not any(b"/site-packages/" in file.read_bytes() for file in files)  # a path of some machine
    assert {file.suffix for file in files} <= {".csv", ".html", ".json", ".md", ".png", ".svg", ".txt"}
