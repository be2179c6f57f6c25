import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.study.trial import Plan
from ablations.training import current_origin
from ablations.training.checks import check_plan
from ablations.training.current_origin import find_origin
from convnext_path import Data
from convnext_path.files import cache_file
from convnext_path.kernels import build


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that were looked at with torch."""
    looked, look = list[Plan](), current_origin.look

    def note(plan: Plan) -> object:
        looked.append(plan)
        return look(plan)

    monkeypatch.setattr(current_origin, "look", note)
    return looked


def test_it_is_found_once_and_recalled_while_nothing_changes(plan: Plan, looks: list[Plan]) -> None:
    assert find_origin(plan) == find_origin(plan) == check_plan(plan)
    assert len(looks) == 1
    find_origin(replace(plan, threads=2))
    assert len(looks) == 2


@pytest.mark.parametrize("variable", ["CXX", "CONVNEXT_PATH_KERNELS", "ONEDNN_DEFAULT_FPMATH_MODE"])
def test_settings_are_looked_at_anew(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, looks: list[Plan], variable: str
) -> None:
    find_origin(plan)
    monkeypatch.setenv(variable, "stock" if "KERNELS" in variable else "g++")
    find_origin(plan)
    assert len(looks) == 2


def test_code_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch, plan: Plan, looks: list[Plan]) -> None:
    find_origin(plan)
    monkeypatch.setattr(current_origin, "list_versions", lambda: (("code", "other"),))
    find_origin(plan)
    assert len(looks) == 2


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"key": 1, "origin": 2}', b"\xff"])
def test_a_damaged_cache_is_passed_over(plan: Plan, looks: list[Plan], content: bytes) -> None:
    expected = find_origin(plan)
    (file,) = cache_file("x").parent.glob("origin-*.json")
    file.write_bytes(content)
    assert find_origin(plan) == expected
    assert len(looks) == 2


def test_images_of_ones_own_are_looked_at_each_time(
    tmp_path: Path, plan: Plan, looks: list[Plan], make_images: Callable[..., Path]
) -> None:
    root = make_images(tmp_path / "images", count=70)
    mine = replace(plan, data=Data("imagefolder", root=str(root)))
    assert find_origin(mine) == find_origin(mine)
    assert len(looks) == 2


def test_where_images_are_missing_all_else_is_told(
    tmp_path: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = replace(plan, data=Data("imagefolder", root=str(tmp_path / "gone")))
    found = find_origin(mine)
    assert dict(found.experiment)["data"] == "unknown"
    assert replace(found, experiment=()) == replace(check_plan(plan), experiment=())
    assert (
        f"warning: no folder {tmp_path}/gone; records are compared by everything except their images"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "options",
    [
        *((("accelerator", "tpu"),), (("devices", 64), ("accelerator", "gpu")), (("num_nodes", 0),), (("nothing", 1),)),
        *((("precision", "x"),), (("strategy", "deepspeed"),), (("gradient_clip_val", "x"),)),
    ],
)
def test_a_study_that_cannot_train_here_is_looked_after_here(
    plan: Plan, options: tuple[tuple[str, object], ...], capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = replace(plan, trainer=options)
    assert dict(find_origin(elsewhere).experiment)["data"] == "unknown"
    assert "; records are compared by everything except their images" in capsys.readouterr().out


def test_a_study_is_looked_after_without_torch(tmp_path: Path, plan: Plan) -> None:
    from ablations.study.folder import StudyFolder

    StudyFolder(tmp_path / "study").begin(plan)
    code = "import sys; from ablations.__main__ import main; main(); print('torch' in sys.modules)"
    for loaded in ("True", "False"):
        command = [sys.executable, "-c", code, "status", str(tmp_path / "study")]
        done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == loaded
        assert "4 trials: 4 new" in done.stdout


def test_kernels_that_could_not_be_built_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, looks: list[Plan]
) -> None:
    monkeypatch.setattr(build, "describe", lambda device: "stock (kernels not built)")
    find_origin(plan)
    find_origin(plan)
    assert len(looks) == 2
