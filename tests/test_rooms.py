"""Who may use whom: imports run one way, from a room to those on lower floors."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: The floors of each package, low to high, and the rooms on each: a room uses those on lower floors, never its
#: neighbors, and all of packages that stand before its own. Of names that begin a module's, the longest is its room's.
ROOMS = {
    "convnext_path": (
        "trust",
        "frozen files programs words source processes",
        "recipe costs steps kernels data.selection networks.flags networks.transformer_flags networks.peer_names",
        "networks.designs data",
        "ladder networks tracing",
        "references counting",
        "module",
    ),
}
#: What a package leaves to others.
NEVER = {"convnext_path": {"ablations", "wandb", "matplotlib", "pandas", "rich"}}
#: Rooms that are imported in a twentieth of a second, and what would make seconds of it.
LIGHT = (
    "trust frozen files programs words source recipe costs steps ladder references counting "
    "data.selection networks.flags networks.transformer_flags networks.peer_names networks.designs"
)
HEAVY = {"torch", "torchvision", "timm", "pytorch_lightning", "sklearn", "numpy", "pandas", "scipy", "matplotlib"}


def name_module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_module(file): file for package in ROOMS for file in sorted((ROOT / package).rglob("*.py"))}
#: Folders; what is in them has rooms.
PACKAGES = {name for name, file in MODULES.items() if file.stem == "__init__"}
FLOORS = [[f"{package}.{room}" for room in floor.split()] for package, floors in ROOMS.items() for floor in floors]


def find_room(module: str) -> tuple[int, str]:
    """A module's floor and room."""
    rooms = [(room, i) for i, floor in enumerate(FLOORS) for room in floor if f"{module}.".startswith(f"{room}.")]
    assert rooms, f"{module} has no room"
    room, floor = max(rooms, key=lambda found: len(found[0]))
    return floor, room


def find_package(module: str) -> str:
    return module.partition(".")[0]


def imports_of(module: str) -> set[str]:
    """All that a module imports, in functions too, by full names."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & MODULES.keys() or {str(node.module)}
    return found


@pytest.mark.parametrize("module", [module for module in MODULES if module not in PACKAGES])
def test_a_room_uses_those_below(module: str) -> None:
    floor, room = find_room(module)
    for other in imports_of(module) & MODULES.keys():
        if other in PACKAGES:  # its front door
            assert find_package(other) != find_package(module), f"{module} imports {other} as a whole"
        else:
            below, there = find_room(other)
            assert there == room or below < floor, f"{module} imports {other}"


@pytest.mark.parametrize("package", NEVER)
def test_what_a_package_leaves_to_others(package: str) -> None:
    for module in MODULES:
        if find_package(module) == package:
            assert not {*map(find_package, imports_of(module))} & NEVER[package], module


def test_no_imports_run_in_circles() -> None:
    modules = MODULES.keys() - PACKAGES
    graph = {module: imports_of(module) & modules for module in modules}
    assert len([*TopologicalSorter(graph).static_order()]) == len(graph)


def test_the_table_names_rooms_that_are_there() -> None:
    used = {find_room(module) for module in MODULES if module not in PACKAGES}
    assert used == {(i, room) for i, floor in enumerate(FLOORS) for room in floor}


def test_light_rooms_come_without_torch() -> None:
    rooms = {f"convnext_path.{room}" for room in LIGHT.split()}
    assert rooms <= MODULES.keys()
    code = f"import sys, {', '.join(sorted(rooms))}; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {*map(find_package, out.split())} & HEAVY
