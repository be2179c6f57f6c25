import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.study.folder import StudyFolder
from ablations.study.origin import Origin
from ablations.study.predictions import Answers
from ablations.study.records import unseal
from ablations.study.trial import Plan, Result, Trial, find_old_id, hash_json
from convnext_path import LADDERS
from convnext_path.files import digest
from convnext_path.ladder import flip
from tests.conftest import fake_result, pending
from tests.oddities import ODDITIES, place

GONE = 2**22 + 1  # no process: Linux has fewer


def test_a_study_keeps_its_records(tmp_path: Path, plan: Plan) -> None:
    study = StudyFolder(tmp_path / "study")
    assert study.merge(plan) == plan
    assert pending(study, plan) == plan.trials()
    assert not study.folder.exists()
    study.begin(plan)
    first, second, *_ = plan.trials()
    study.save(fake_result(second))
    study.save(fake_result(first, 80.0))
    assert set(pending(study, plan)) == set(plan.trials()) - {first, second}
    assert [r.top1 for r in StudyFolder(study.folder).results()] == [80.0, 90.0]
    assert sorted(p.name for p in study.trials.iterdir()) == sorted(f"{t.id}.json" for t in (first, second))


def test_failures_are_kept_until_the_trial_succeeds(tmp_path: Path, plan: Plan, trial: Trial) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    file = study.save_failure(trial, "it broke", "Traceback ...")
    assert file.read_text() == "recipe, seed 0: it broke\n\nTraceback ..."
    assert study.failure(trial) == "it broke"
    assert trial in pending(study, plan)
    study.save(fake_result(trial))
    assert not file.exists()


def test_seeds_and_rungs_may_be_added(tmp_path: Path, plan: Plan) -> None:
    study = StudyFolder(tmp_path)
    small = replace(plan, rungs=plan.rungs[1:], seeds=(1,))
    study.begin(small)
    study.save(fake_result(small.trials()[0]))
    mine = flip(plan.rungs[-1], "kernel_size", 3)
    grown = study.merge(replace(plan, rungs=(*plan.rungs[:1], mine), seeds=(0,)))
    assert [r.name for r in grown.rungs] == ["recipe", "layer_norm", "layer_norm/kernel_size=3"]
    assert grown.seeds == (0, 1)
    study.begin(grown)
    assert len(study.results()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ladder": "convnext-t"}, "ladder is 'convnext-nano' in the study and 'convnext-t' in this run"),
        (
            {"trainer": (("precision", "bf16-mixed"),)},
            "trainer.precision is None in the study and 'bf16-mixed' in this run",
        ),
    ],
)
def test_another_configuration_is_refused(tmp_path: Path, plan: Plan, change: dict, message: str) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    with pytest.raises(ValueError, match=message):
        study.merge(replace(plan, **change))


def test_another_recipe_data_or_rung_is_refused(tmp_path: Path, plan: Plan) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    name, recipe = plan.recipes[0]
    for other, message in [
        (
            replace(plan, recipes=((name, recipe.with_epochs(7)),)),
            "recipe.enhanced.epochs is 1 in the study and 7 in this run",
        ),
        (
            replace(plan, data=replace(plan.data, limit_train=99)),
            "data.limit_train is 100 in the study and 99 in this run",
        ),
        (replace(plan, rungs=LADDERS["convnext-nano"][1:]), "rung.recipe.scale.*in the study"),
    ]:
        with pytest.raises(ValueError, match=message):
            study.merge(other)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="contains no study; choose another"):
        StudyFolder(tmp_path).merge(plan)
    with pytest.raises(ValueError, match="contains no study"):
        StudyFolder(tmp_path).plan()


def test_what_a_kill_in_the_first_moment_leaves_is_no_obstacle(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / ".study.json.123.draft").write_text("{")
    assert StudyFolder(tmp_path).merge(plan) == plan


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b"[]", b'{"ladder": 3}', b"[" * 200_000, b'{"rungs":' * 900 + b"1" + b"}" * 900, b"9" * 5000),
        *(b"\xe9", b'{"seeds": [NaN]}', b'{"seeds": 1, "seeds": 2}', b"null", '{"a": 1}'.encode("utf-16"), bytes(9)),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_broken_plan_is_named(tmp_path: Path, plan: Plan, content: bytes) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    study.plan_file.write_bytes(content)
    with pytest.raises(ValueError, match="study.json contains no Plan"):
        study.merge(plan)


def test_answers_and_weights_are_kept_beside_a_record(tmp_path: Path, trial: Trial) -> None:
    study, result = StudyFolder(tmp_path), fake_result(trial)
    answers = Answers("d", result.weights, ("cat", "dog"), (0, 1, 1), (0, 0, 1), (0.9, 0.55, 1.0))
    assert study.read_answers(result) is None
    for weights in (b"1", b"2", b"2"):
        study.keep(trial, weights, answers)
    kept = study.read_answers(result)
    assert kept
    assert replace(kept, file="") == answers
    (file,) = study.weights.iterdir()
    assert file.read_bytes() == b"2"
    assert study.find_changed() == {}
    assert study.read_answers(replace(result, weights="of another training")) is None
    file.write_bytes(file.read_bytes()[:-1])
    assert study.find_changed() == {file: "is damaged"}
    record = study.answers / f"{trial.id}.json"
    record.write_text(record.read_text().replace("0.55", "0.56"))
    told = {file: "cannot be checked: the answers beside it are missing or damaged"}
    assert study.find_changed() == {record: "does not match its digest", **told}
    assert study.read_answers(result) is None
    record.unlink()
    assert study.find_changed() == told


def test_rungs_that_are_one_network_share_a_record(tmp_path: Path, plan: Plan) -> None:
    """Flipping the last step's flag gives the step before it."""
    rungs = LADDERS["convnext-nano"][-2:]
    twin = flip(rungs[1], "separate_downsampling", False)
    plan = replace(plan, rungs=(*rungs, twin), seeds=(0,))
    study = StudyFolder(tmp_path)
    study.begin(plan)
    assert [trial.rung for trial in pending(study, plan)] == [twin.name, rungs[1].name]
    for trial in pending(study, plan):
        study.save(fake_result(trial))
    assert pending(study, plan) == []
    assert [result.trial for result in study.results()] == plan.trials()


def test_records_that_the_plan_does_not_know_yet_count(tmp_path: Path, plan: Plan) -> None:
    study = StudyFolder(tmp_path)
    study.begin(replace(plan, seeds=(0,)))
    for trial in plan.trials():
        study.save(fake_result(trial))
    assert pending(study, plan) == []


def test_a_study_of_enhanced_rungs_takes_the_original_one_too(tmp_path: Path, plan: Plan) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    first = replace(LADDERS["convnext-nano"][0], scale=plan.rungs[0].scale)
    other = replace(plan, rungs=(first,), recipes=(("original", plan.recipes[0][1]),))
    assert dict(study.merge(other).recipes).keys() == {"original", "enhanced"}
    assert [rung.name for rung in study.merge(other).rungs] == ["resnet", "recipe", "layer_norm"]


def test_a_flip_follows_the_rung_that_it_changes(tmp_path: Path, plan: Plan) -> None:
    study = StudyFolder(tmp_path)
    study.begin(replace(plan, rungs=(plan.rungs[0], flip(plan.rungs[0], "gelu", True))))
    merged = study.merge(replace(plan, rungs=plan.rungs[1:]))
    assert [rung.name for rung in merged.rungs] == ["recipe", "recipe/gelu=true", "layer_norm"]


@pytest.mark.parametrize("seed", range(30))
def test_damage_to_a_record_is_found(tmp_path: Path, plan: Plan, trial: Trial, seed: int) -> None:
    """Emptied, cut short, or one bit flipped anywhere."""
    study, chance = StudyFolder(tmp_path), random.Random(seed)
    study.begin(plan)
    study.save(fake_result(trial))
    record = study.trials / f"{trial.id}.json"
    content = record.read_bytes()
    place = chance.randrange(len(content) - 1)
    flipped = content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]
    record.write_bytes(b"" if seed == 0 else content[:place] if seed % 3 == 0 else flipped)
    assert study.results() == []
    assert list(study.read()[1]) == [record]
    assert trial in pending(study, plan)
    aside = study.put_aside(record)
    assert digest(aside.read_bytes()) != digest(content)
    study.save(fake_result(trial))
    assert (study.read()[1], record.read_bytes()) == ({}, content)


@pytest.mark.parametrize("content", ["[]", "3", '{"trial": 3}', '{"digest": "x"}', "null"])
def test_what_is_no_record(tmp_path: Path, plan: Plan, trial: Trial, content: str) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    (study.trials / f"{trial.id}.json").write_text(content)
    assert study.results() == []
    assert len(study.read()[1]) == 1


def test_another_trials_record_does_not_count(tmp_path: Path, plan: Plan) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    first, second, *_ = plan.trials()
    study.save(fake_result(first))
    (study.trials / f"{first.id}.json").rename(study.trials / f"{second.id}.json")
    assert study.results() == []
    assert list(study.read()[1].values()) == ["is the record of another trial"]


def test_a_record_that_is_replaced_is_kept_aside(tmp_path: Path, plan: Plan, trial: Trial) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    study.save(fake_result(trial, 80.0))
    study.save(fake_result(trial, 90.0))
    (old,) = study.aside.iterdir()
    assert unseal(old, Result).top1 == 80.0
    assert [result.top1 for result in study.results()] == [90.0]


def test_one_driver_leads(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path / "study")
    named = f"is being trained by process {os.getpid()} on .* since .*--join"
    with study.lead(), pytest.raises(ValueError, match=named), study.lead():
        pass
    with study.lead():
        pass


def test_a_trial_is_claimed_once_and_forgets_other_origins(tmp_path: Path, plan: Plan, trial: Trial) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    with study.claim(trial, Origin((("torch", "1"),))) as place:
        assert place is not None
        place.mkdir()
        file = place / f"00003-{digest(b'')}.ckpt"
        file.touch()
        assert study.is_running(trial)
        with study.claim(trial, Origin((("torch", "1"),))) as other:
            assert other is None
    assert not study.is_running(trial)
    assert study.checkpoints(trial.id) == study.checkpoints() == [file]
    with study.claim(trial, Origin((("torch", "2"),))) as again:
        assert again != place
        assert study.checkpoints(trial.id) == []


def test_the_last_to_leave_removes_the_folder_of_locks(tmp_path: Path, plan: Plan, trial: Trial) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    with study.claim(trial, Origin((("torch", "1"),))):  # a helper, who outlasts the driver
        with study.lead():
            pass
        assert study.running.exists()
        study.save(fake_result(trial))
    assert not study.running.exists()


def write_old(study: StudyFolder, result: Result) -> Path:
    """A record as it was written when ids hashed every field and an origin was of one piece."""
    content = result.to_dict() | {"origin": [["code", "abc"], ["device", "cpu AVX2"], ["torch", "2.15.0"]]}
    del content["fingerprint"], content["confirmed"]
    file = study.trials / f"{find_old_id(content['trial'])}.json"
    file.write_text(json.dumps({"digest": hash_json(content), **content}))
    return file


def test_records_with_old_ids_are_read_and_renamed(tmp_path: Path, plan: Plan, trial: Trial) -> None:
    study, result = StudyFolder(tmp_path), fake_result(trial)
    study.begin(plan)
    file = write_old(study, result)
    study.keep(trial, b"weights", Answers("d", result.weights, ("cat",), (0,), (0,), (0.9,)))
    for folder, suffix in ((study.weights, "pt"), (study.answers, "json")):
        (folder / f"{trial.id}.{suffix}").rename(folder / f"{file.stem}.{suffix}")
    assert file.stem != trial.id
    (record,) = study.results()
    assert record.origin == Origin((("code", "abc"), ("torch", "2.15.0")), (("device", "cpu AVX2"),))
    assert record.outcome == result.outcome
    assert study.faults() == {}
    before = file.read_bytes()
    assert study.migrate() == 1
    assert not file.exists()
    assert (study.trials / f"{trial.id}.json").read_bytes() == before
    assert study.record(trial) == replace(record, trial=study.results()[0].trial)
    assert study.read_answers(record)
    assert study.find_changed() == {}
    assert study.migrate() == 0


def test_a_record_of_today_counts_before_one_with_an_old_id(tmp_path: Path, plan: Plan, trial: Trial) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    old = write_old(study, fake_result(trial, 50.0))
    study.save(fake_result(trial, 90.0))
    assert [record.top1 for record in study.results()] == [90.0]
    study.migrate()
    assert [record.top1 for record in study.results()] == [90.0]
    assert old.exists()


def test_drafts_of_killed_writes_are_cleared_wherever_they_are(tmp_path: Path, plan: Plan, trial: Trial) -> None:
    study = StudyFolder(tmp_path)
    study.begin(plan)
    for folder, suffix in (
        (study.weights, "pt"),
        (study.answers, "json"),
        (study.failed, "txt"),
        (study.trials, "json"),
    ):
        folder.mkdir(exist_ok=True)
        (folder / f".{trial.id}.{suffix}.{GONE}.draft").write_text("half")
    (tmp_path / f".study.json.{GONE}.draft").write_text("{")
    study.begin(plan)
    with study.claim(trial, Origin()) as place:
        assert place
        place.mkdir()
        (place / f".00001-{digest(b'')}.ckpt.{GONE}.draft").write_text("half")
    with study.claim(trial, Origin()):
        assert not [file for file in tmp_path.rglob(".*") if str(GONE) in file.name]


@pytest.mark.parametrize(("kind", "why"), ODDITIES.items())
def test_whatever_lies_at_a_studys_files_it_is_named_and_a_run_goes_on(
    tmp_path: Path, plan: Plan, trial: Trial, kind: str, why: str, alarm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study, answers = StudyFolder(tmp_path), Answers("d", "abc", ("cat",), (0,), (0,), (0.9,))
    study.begin(plan, "command")
    for folder in (study.weights, study.answers, study.failed):
        folder.mkdir()
    files = (study.record_file(trial), study.answers / f"{trial.id}.json", study.weights / f"{trial.id}.pt")
    study.commands_file.unlink()
    for file in (*files, study.failure_file(trial), study.commands_file):
        place(file, kind)
    assert study.read() == ({}, {files[0]: study.read()[1][files[0]]})
    assert study.read()[1][files[0]].startswith(f"cannot be read: {why}")
    assert study.read_answers(fake_result(trial)) is None
    assert set(study.find_changed()) >= {files[1]}
    assert "cannot be read" in study.failure(trial) or kind == "link to nothing"
    kept = study.put_aside(files[0])
    assert os.path.lexists(kept)
    if kind != "too large":
        assert study.commands() == []
        study.begin(plan, "command")
        assert study.commands() == ["command"]
    study.save_failure(trial, "it broke", "why")
    assert study.failure(trial) == "it broke"
    study.keep(trial, b"weights", answers)
    study.save(fake_result(trial))
    assert study.faults() == study.find_changed() == {}
    assert study.read_answers(fake_result(trial))
    assert study.failure(trial) == ""


def test_a_record_that_cannot_be_read_is_kept_aside_where_another_is_saved(tmp_path: Path, trial: Trial) -> None:
    study = StudyFolder(tmp_path)
    study.record_file(trial).mkdir(parents=True)
    (study.record_file(trial) / "mine").touch()
    study.save(fake_result(trial))
    assert [entry.name for entry in study.aside.glob("*/*")] == ["mine"]
    assert study.record(trial) == fake_result(trial)


@pytest.mark.parametrize(("kind", "why"), ODDITIES.items())
def test_a_plan_that_is_no_file_is_a_line(
    tmp_path: Path, plan: Plan, kind: str, why: str, alarm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = StudyFolder(tmp_path)
    place(study.plan_file, kind)
    for read in (study.plan, lambda: study.merge(plan), study.contents):
        with pytest.raises(ValueError, match=f"study.json cannot be read: {why}"):
            read()


@pytest.mark.parametrize("name", ["ladder", "rungs", "seeds", "data", "recipes"])
@pytest.mark.parametrize("value", ["absent", None, [], {}, "x", -1, 1.5, [None], [[]], [1, 1], True, 10**400, "\ud800"])
def test_a_plan_of_other_values_is_a_line(tmp_path: Path, plan: Plan, name: str, value: object) -> None:
    content = plan.to_dict() | {name: value}
    if value == "absent":
        del content[name]
    study = StudyFolder(tmp_path)
    study.plan_file.write_text(json.dumps(content))
    if (name, value) in (("ladder", "x"), ("ladder", "\ud800"), ("data", {})):
        assert study.plan().trials()
    else:
        with pytest.raises(
            ValueError, match=r"study\.json contains no Plan: .*" + name.rstrip("s").title()[1:]
        ) as raised:
            study.plan()
        assert len(str(raised.value)) < 2000


@pytest.mark.parametrize("content", [b"", b"\n", b"no colon", b"caf\xe9\n\n", b"\x00"])
def test_a_failure_that_does_not_say_why(tmp_path: Path, trial: Trial, content: bytes) -> None:
    study = StudyFolder(tmp_path)
    study.failed.mkdir()
    study.failure_file(trial).write_bytes(content)
    assert study.failure(trial) == "the reason is not known"


def test_commands_keep_their_bytes(tmp_path: Path, plan: Plan) -> None:
    """Names of files need not be UTF-8."""
    study, before = StudyFolder(tmp_path), b"run --root caf\xe9\nrun"
    study.commands_file.write_bytes(before)
    for command in ("run --root \udce9", "run --root caf\udce9", "run --root \udce9", "run"):
        study.begin(plan, command)
    assert study.commands_file.read_bytes() == before + b"\nrun --root \xe9\n"
    assert study.commands() == ["run --root caf\ufffd", "run", "run --root \ufffd"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda file: (file.touch(), os.truncate(file, 2**40))])
def test_commands_that_cannot_be_read_go_aside(tmp_path: Path, plan: Plan, make: Callable[[Path], object]) -> None:
    study = StudyFolder(tmp_path)
    make(study.commands_file)
    assert study.commands() == []
    study.begin(plan, "run")
    assert study.commands() == ["run"]
    assert len(list(study.aside.iterdir())) == 1
