"""The rooms of ``ablations``: each uses only those below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ablations

ROOT = Path(ablations.__file__).parents[1]

#: From the ground up; rooms on one floor do not use each other.
FLOORS = (
    ("hints",),
    ("console", "fields"),
    ("study",),
    ("training",),
    ("engines", "analysis"),
    ("report",),
    ("bench",),
    ("planning",),
    ("driver",),
    ("api",),
    ("__init__",),  # what people import
    ("cli",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / "ablations").rglob("*.py"))


def find_room(module: str) -> str:
    """The room of a module: ``ablations.study.trial`` is in study."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def name_module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts)


def find_imports(source: str) -> Iterator[str]:
    """The modules of ours that are imported, at the top, in functions, and for types alone."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = node.module == "ablations"
            yield from (f"ablations.{alias.name}" for alias in node.names if inside)
            yield from () if inside else (node.module,)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_room_uses_only_those_below_it(path: Path) -> None:
    room = find_room(name_module(path))
    used = {find_room(name) for name in find_imports((ROOT / path).read_text()) if name.startswith("ablations.")}
    assert {other for other in used - {room} if FLOOR[other] >= FLOOR[room]} == set()


def test_every_room_has_a_floor_and_says_what_it_is_for() -> None:
    rooms = {find_room(name_module(path)) for path in MODULES}
    assert rooms == set(FLOOR)
    for path in MODULES:
        assert ast.get_docstring(ast.parse((ROOT / path).read_text())), path


SOURCE = """
from ablations import api

def find():
    import ablations.cli.parser
    from ablations.study.trial import Plan
"""


def test_imports_are_found_wherever_they_are() -> None:
    assert list(find_imports(SOURCE)) == ["ablations.api", "ablations.cli.parser", "ablations.study.trial"]
