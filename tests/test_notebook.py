"""The notebook runs from top to bottom, and what it shows is what is stored."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "path.ipynb"


def code_cells(file: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]


def texts(cell: dict[str, Any]) -> list[str]:
    """What a cell printed, and its value as text."""
    outputs = cell["outputs"]
    return ["".join(output.get("text") or output["data"].get("text/plain", "")) for output in outputs]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks")
    copy = Path(shutil.copy(NOTEBOOK, folder))
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", "--timeout=300", copy.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return copy


@pytest.mark.torture
def test_it_shows_what_is_stored(executed: Path) -> None:
    now, stored = code_cells(executed), code_cells(NOTEBOOK)
    own = next(i for i, cell in enumerate(now) if "FLIP =" in "".join(cell["source"]))
    assert 15 < own < len(now)
    assert [texts(cell) for cell in now[:own]] == [texts(cell) for cell in stored[:own]]
    assert "wrote my-step/report.html" in "".join(texts(now[own]))


def test_it_is_stored_with_its_outputs() -> None:
    cells = code_cells(NOTEBOOK)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells[1:])  # the first one imports
    assert not any(output["output_type"] == "error" for cell in cells for output in cell["outputs"])
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"]) >= 5
    assert NOTEBOOK.stat().st_size < 2e6
    assert str(Path.home()) not in NOTEBOOK.read_text()
