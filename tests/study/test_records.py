import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.study.predictions import Answers
from ablations.study.records import dump, seal, try_unseal
from ablations.study.trial import Plan, Result, Trial, hash_json
from tests.conftest import fake_result
from tests.oddities import ODDITIES, place

INF, NAN = math.inf, math.nan
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**400, -1, 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def write_sealed(file: Path, content: dict[str, Any]) -> Path:
    """A record with a digest that is right, whatever it holds."""
    file.write_bytes(dump({"digest": hash_json(content), **content}))
    return file


def replace_one(content: Any, value: Any, draw: Any) -> Any:
    """Content with one of its values, however deep, replaced."""
    if isinstance(content, (dict, list)) and content and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(content) if isinstance(content, dict) else range(len(content))))
        copy = content.copy()
        copy[key] = replace_one(content[key], value, draw)
        return copy
    return value


@given(st.data())
def test_whatever_a_sealed_record_holds_it_is_read_or_said_to_be_damaged(
    tmp_path_factory: pytest.TempPathFactory, plan: Plan, data: st.DataObject
) -> None:
    trial = plan.trials()[0]
    content = replace_one(fake_result(trial).to_dict(), data.draw(JSON), data.draw)
    file = tmp_path_factory.getbasetemp() / f"{trial.id}.json"
    found = try_unseal(write_sealed(file, content if isinstance(content, dict) else {"x": content}), Result)
    if isinstance(found, Result):
        assert 0 <= found.top1 <= 100
        assert found.curve
        assert hash(found)
    else:
        assert found
        assert "\n" not in found


@given(st.data())
def test_whatever_a_plan_holds_it_is_read_or_refused(plan: Plan, data: st.DataObject) -> None:
    content = replace_one(plan.to_dict(), data.draw(JSON), data.draw)
    with suppress(ValueError):
        found = Plan.from_dict(content)
        assert {trial.id for trial in found.trials()}
        assert hash(found)


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        *((("top1",), value, "Result.top1 must be") for value in (INF, NAN, 1e308, -1, 100.1, "x", None)),
        *((("top5",), value, "Result.top5 must be") for value in (-INF, -0.1, [1], {"a": 1}, True)),
        *((("seconds",), value, "Result.seconds must be") for value in (INF, NAN, -1.0, 1e300, "1")),
        *((("images_per_second",), value, "Result.images_per") for value in (0, 1e-300, INF, NAN, -1.0, 1e300)),
        *((("peak_memory",), value, "Result.peak_memory must be") for value in (-1, 2**63, 1.5, 10**400)),
        *((("curve", 1, "train_loss"), value, "Epoch.train_loss must be") for value in (INF, NAN, "x")),
        *((("curve", 0, "lr"), value, "Epoch.lr must be") for value in (INF, NAN, -1.0)),
        *((("curve", 1, "top1"), value, "Epoch.top1 must be") for value in (INF, NAN, -1.0, 101)),
        *((("curve", 1, "epoch"), value, "Epoch.epoch must be") for value in (-1, 2**63, 0.5)),
        *((("cost", "params"), value, "ost") for value in (-1, 2**63, 0.5, 10**400)),
        (("curve",), [], "Result.curve has no epoch"),
        (("cost", "macs", 0, 1), -1, "Cost's counts must be"),
        (("origin", "experiment", 0, 1), {"a": 1}, "Origin.experiment must be"),
    ],
    ids=str,
)
def test_numbers_that_no_training_gives_are_damage(
    tmp_path: Path, trial: Trial, place: tuple[str | int, ...], value: object, why: str
) -> None:
    content = json.loads(json.dumps(fake_result(trial).to_dict()))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    found = try_unseal(write_sealed(tmp_path / f"{trial.id}.json", content), Result)
    assert isinstance(found, str)
    assert why in found


def test_a_loss_of_validation_may_be_infinite(tmp_path: Path, trial: Trial) -> None:
    """It is measured, and ends no training."""
    content = fake_result(trial).to_dict()
    content["curve"][0]["val_loss"] = INF
    assert isinstance(try_unseal(write_sealed(tmp_path / f"{trial.id}.json", content), Result), Result)


@pytest.mark.parametrize(("kind", "why"), ODDITIES.items())
def test_what_is_no_file_is_said(
    tmp_path: Path, trial: Trial, kind: str, why: str, alarm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place(tmp_path / f"{trial.id}.json", kind)
    found = try_unseal(tmp_path / f"{trial.id}.json", Result)
    assert isinstance(found, str)
    assert found.startswith(f"cannot be read: {why}")


DAMAGED = {
    "nested": b"[" * 200_000,
    "nested names": b'{"digest":' * 900 + b"1" + b"}" * 900,
    "digits": b"9" * 5000,
    "not UTF-8": b'{"caf\xe9": 1}',
    "twice": b'{"digest": 1, "digest": 2}',
    "UTF-16": '{"digest": 1}'.encode("utf-16"),
    "mark": b"\xef\xbb\xbf{}",
    "empty": b"",
    "zeros": bytes(100),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_record_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert try_unseal(tmp_path / "file", Result) in ("is not a record", "does not match its digest")


@pytest.mark.parametrize(
    "change",
    [
        *({"given": (0, 0, 2)}, {"truth": (-1, 0, 0)}, {"truth": (0,)}, {"confidences": (0.5, NAN, 0.5)}),
        *({"confidences": (0.5, 2.0, 0.5)}, {"classes": ()}, {"truth": (), "given": (), "confidences": ()}),
    ],
)
def test_answers_that_no_network_gives_are_damage(tmp_path: Path, change: dict[str, Any]) -> None:
    answers = Answers("d", "w", ("cat", "dog"), (0, 1, 1), (0, 0, 1), (0.9, 0.55, 1.0))
    assert try_unseal(write_sealed(tmp_path / "a.json", answers.to_dict()), Answers) == answers
    found = try_unseal(write_sealed(tmp_path / "a.json", answers.to_dict() | change), Answers)
    assert isinstance(found, str)
    assert "Answers" in found


def test_a_seal_is_the_digest_of_the_rest(trial: Trial) -> None:
    content = seal(fake_result(trial))
    assert content.pop("digest") == hash_json(content)
