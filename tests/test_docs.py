"""What people read: links lead somewhere, commands are understood, the first page stays short."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.cli.options import read_options
from ablations.cli.parser import PARSERS, make_parser
from ablations.planning.profiles import Machine
from ablations.report.readme import README, ROOT
from ablations.study.request import LadderRequest, ModelsRequest, make_plan

PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "results" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REQUESTS = {"run": LadderRequest, "plan": LadderRequest, "compare": ModelsRequest}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def find_anchors(page: Path) -> set[str]:
    """The headings of a page as links name them, on GitHub and by MyST."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = (re.sub(r"[`*]|\[|\]\([^)]*\)", "", title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pages
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for place, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), place
        if anchor:
            assert anchor in find_anchors(target), f"{place}#{anchor}"


def find_commands(page: Path) -> Iterator[list[str]]:
    """The words of each command of ours on a page; what a shell makes of it stays as it is."""
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "ablations" in words and "..." not in words:
                yield words[words.index("ablations") + 1 :]


COMMANDS = [(page, words) for page in PAGES for words in find_commands(page)]


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=lambda value: value.stem if isinstance(value, Path) else "")
def test_commands_are_understood(page: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as a plan, for which no images are read."""
    monkeypatch.chdir(tmp_path)
    if not words[0].startswith("-"):
        assert words[0] in PARSERS
    if not {"--help", "--version", "--config"} & {*words}:
        args = make_parser().parse_args(words)
        if kind := REQUESTS.get(words[0]):
            request = read_options(kind, args[words[0]])
            here = words[0] != "plan" or read_options(Machine, args["plan"]).is_here
            make_plan(replace(request, here=here))


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 30


def test_the_first_page_stays_short() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1200


def test_every_page_is_in_the_table_of_contents() -> None:
    names = {page.stem for page in PAGES if page.parent.name == "docs"} - {"index"}
    assert names == {*re.findall(r"^[\w-]+$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)}
