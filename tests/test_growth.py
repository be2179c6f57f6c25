"""What is published outlives a change of code: fields that are added, code that moves, numbers that change."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("ablations", "convnext_path")
#: Classes whose values ids, records and plans hold.
GROWN = (
    "Flags",
    "Scale",
    "SwinFlags",
    "SwinScale",
    "ViTFlags",
    "ViTScale",
    "Recipe",
    "Data",
    "Trial",
    "Plan",
    "Result",
)

#: Runs words with a code digest that stays: whether changed code counts is another question.
WORDS = """
import sys
from ablations.training import provenance
provenance.code_digest = lambda *root: sys.argv[1]
from ablations.__main__ import main
for word in ("status {0}", "report {0}", "run --study {0} --wandb disabled --dry-run"):
    print(main(word.format(sys.argv[2]).split()))
"""


def copy_code(folder: Path) -> Path:
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def add_field(root: Path, name: str) -> None:
    """Give a class one more field, at its end, with a default."""
    for file in root.rglob("*.py"):
        lines = file.read_text().splitlines()
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                last = [part for part in node.body if isinstance(part, ast.AnnAssign)][-1]
                assert last.end_lineno
                lines.insert(last.end_lineno, "    added_later: bool = False")
                file.write_text("\n".join(lines) + "\n")
                return
    raise LookupError(name)


def run_in(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "results" / "digits", tmp_path / "digits"))


@pytest.mark.torture
def test_fields_that_are_added_change_no_id_and_no_record(tmp_path: Path, digits: Path) -> None:
    record = json.loads(next(digits.glob("trials/*.json")).read_text())
    code = dict(record["origin"]["experiment"])["code"]
    said = []
    for name in ("before", "after"):
        root = copy_code(tmp_path / name)
        for grown in GROWN if name == "after" else ():
            add_field(root, grown)
        done = run_in(root, "-c", WORDS, code, str(digits))
        assert done.returncode == 0, done.stderr
        said.append((done.stdout, (digits / "results.csv").read_bytes()))
    assert said[0] == said[1]
    assert "51 trials: 51 done" in said[1][0]


#: Where something is changed, what, and into what.
SABOTAGES = {
    "initialization": ("networks/path.py", "(layer.weight, std=std)", "(layer.weight, std=0.041)"),
    "augmentation": ("data/module.py", "return augment(images", "return 1.01 * augment(images"),
    "schedule": ("recipe.py", "math.cos(math.pi * done)", "math.cos(3.14 * done)"),
    "loss": ("module.py", "label_smoothing=self.recipe.label_smoothing", "label_smoothing=0.11"),
    "validation": ("data/module.py", "return center(images", "return 1.01 * center(images"),
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two records, by the code as it is."""
    study = tmp_path_factory.mktemp("trained") / "study"
    options = "run --rungs recipe,layer_norm --seeds 1 --epochs 1 --limit-train 128 --wandb disabled --study"
    assert run_in(ROOT, "-m", "ablations", *options.split(), str(study)).returncode == 0
    return study


@pytest.mark.torture
@pytest.mark.parametrize("name", SABOTAGES)
def test_numbers_that_change_are_caught_with_the_names_of_their_trials(
    tmp_path: Path, trained: Path, name: str
) -> None:
    study, root = Path(shutil.copytree(trained, tmp_path / "study")), copy_code(tmp_path / "code")
    records = {file: file.read_bytes() for file in study.glob("trials/*.json")}
    file, old, new = SABOTAGES[name]
    source = root / "convnext_path" / file
    text = source.read_text()
    assert text.count(old) == 1
    source.write_text(text.replace(old, new))
    done = run_in(root, "-m", "ablations", "verify", str(study), "--again")
    assert done.returncode == 1
    for rung in ("recipe", "layer_norm"):
        assert f"  {rung}, seed 0: different (" in done.stdout
    assert "today's code was not added to them" in done.stdout
    assert {file: file.read_bytes() for file in study.glob("trials/*.json")} == records
    status = run_in(root, "-m", "ablations", "status", str(study)).stdout
    assert "2 trials: 2 stale" in status
