"""A study's folder, which keeps what is to be done and what was done: read, written, held."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from errno import ENOENT
from pathlib import Path

from ablations.study.checkpoints import NAME, clear_checkpoints, list_checkpoints
from ablations.study.entries import (
    ID,
    has_content,
    list_entries,
    list_folders,
    make_room,
    put_aside,
    remove,
)
from ablations.study.layout import LOCK, Layout
from ablations.study.locks import DRIVER, Lock, describe_driver, hold, is_held
from ablations.study.origin import Origin
from ablations.study.predictions import Answers
from ablations.study.records import dump, name_as, seal, try_unseal
from ablations.study.trial import Plan, Result, Trial, hash_json
from convnext_path.files import digest, digest_file, parse_json, read_regular, read_text, remove_drafts, write_whole
from convnext_path.words import mask


@dataclass(frozen=True)
class Contents:
    """What a study's folder holds, read once."""

    plan: Plan
    results: Sequence[Result]  # the whole records that belong to the plan, in its order
    faults: Mapping[Path, str]  # what is wrong with other files in their place


class StudyFolder(Layout):
    """A study's folder. Nothing but locks is written before :meth:`begin`."""

    def plan(self) -> Plan:
        """The plan that the folder holds. Raises a ValueError where there is none, or none that can be read."""
        if not os.path.lexists(self.plan_file):
            raise ValueError(f"{self.folder} contains no study (no {self.plan_file.name})")
        try:
            return Plan.from_dict(parse_json(read_regular(self.plan_file), finite=True))
        except OSError as error:
            raise ValueError(f"{self.plan_file} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"{self.plan_file} contains no Plan: {error}") from None

    def merge(self, plan: Plan) -> Plan:
        """The folder's plan with the rungs and seeds of ``plan`` added.

        Raises:
            ValueError: the folder holds a study under other terms, or something else; the message says what.
            OSError: it cannot be read.
        """
        if not os.path.lexists(self.plan_file):
            if others := self.list_others():
                found = ", ".join(map(repr, others[:3])) + ", ..." * (len(others) > 3)
                raise ValueError(
                    f"{self.folder} exists and contains no study; choose another --study (found there: {found})"
                )
            return plan
        there = self.plan()
        if conflicts := there.conflicts(plan):
            raise ValueError(
                f"{self.folder} has a study with another configuration; choose another --study. {'; '.join(conflicts)}"
            )
        self.check_places()
        return there.add(plan)

    def begin(self, plan: Plan, command: str = "") -> None:
        """Make the folder and write the plan and the command. Raises an OSError where that cannot be."""
        self.trials.mkdir(parents=True, exist_ok=True)
        self._write(self.plan_file, dump(plan.to_dict()))
        line, before = os.fsencode(command), self._read_commands(aside=True)
        if line and line not in before.splitlines():
            end = b"\n" if before and not before.endswith(b"\n") else b""
            self._write(self.commands_file, before + end + line + b"\n")

    def commands(self) -> list[str]:
        """Each command that trained here, once, in order; bytes that are no UTF-8 replaced."""
        return self._read_commands().decode(errors="replace").splitlines()

    def _read_commands(self, aside: bool = False) -> bytes:
        """The commands as they lie there: none where something else does, which goes ``aside``. Raises an OSError."""
        try:
            return read_regular(self.commands_file)
        except FileNotFoundError:
            return b""
        except OSError:
            if aside:
                self.put_aside(self.commands_file)
            return b""

    def make_room(self, names: Iterable[str]) -> None:
        """Put aside what cannot be replaced by files of these names. Raises an OSError."""
        for name in names:
            make_room(self.folder / name, self.aside)

    def _write(self, file: Path, content: bytes) -> None:
        """Write one of the study's files whole; what is no file goes aside. Raises an OSError."""
        make_room(file, self.aside)
        write_whole(file, content)

    def check_there(self) -> None:
        """Raise a FileNotFoundError where the study is no longer: what is written now would lie apart from it."""
        if not os.path.lexists(self.plan_file):
            raise FileNotFoundError(ENOENT, "the study was moved or removed during training", str(self.folder))

    @contextmanager
    def lead(self) -> Iterator[Lock]:
        """Be the folder's one driver. Raises a ValueError that names the other where there is one, or an OSError."""
        new = not self.folder.exists()
        try:
            with hold(self.folder / DRIVER) as lock:
                if lock is None:
                    raise ValueError(describe_driver(self.folder))
                yield lock
        finally:
            self._tidy(self.running)
            if new:
                with suppress(OSError):
                    self.folder.rmdir()  # where nothing was begun

    @contextmanager
    def claim(self, trial: Trial, origin: Origin) -> Iterator[Path | None]:
        """A folder for the trial's checkpoints, held for us; None where another process has it.

        Checkpoints of another origin are no part of this trial, and are removed.
        """
        self.check_there()
        work = self.running / trial.id
        with hold(work / LOCK) as mine:
            place = work / hash_json(origin.to_dict())[:16]
            if mine:
                self._clear(work, place, trial)
            yield place if mine else None
        self._tidy(work)

    def _tidy(self, folder: Path) -> None:
        """Remove a folder of locks, and the one above, where nothing is left: any driver may be the last to leave."""
        for empty in (folder, self.running):
            with suppress(OSError):
                empty.rmdir()

    def _clear(self, work: Path, place: Path, trial: Trial) -> None:
        """Remove what other origins and unfinished writes have left of a trial."""
        for other in list_folders(work):
            if other != place:
                clear_checkpoints(other)
        remove_drafts(place, NAME)
        for folder in (self.trials, self.weights, self.answers, self.failed):
            remove_drafts(folder, rf"{trial.id}\.(json|pt|txt)")

    def is_running(self, trial: Trial) -> bool:
        """Whether a living process holds the trial."""
        return is_held(self.running / trial.id / LOCK)

    def checkpoints(self, trial: str | None = None) -> list[Path]:
        """The checkpoints of a trial's id, or of every one's, of whatever origin; of an origin by epoch."""
        works = [self.running / trial] if trial else list_folders(self.running)
        return [file for work in works for place in list_folders(work) for file in list_checkpoints(place)]

    def save(self, result: Result) -> None:
        """Write a record, keep the one it replaces, and clear the trial's failure and checkpoints."""
        file, content = self.record_file(result.trial), dump(seal(result))
        if os.path.lexists(file) and not has_content(file, content):
            self.put_aside(file)
        write_whole(file, content)
        remove(self.failure_file(result.trial))
        work = self.running / result.trial.id
        for place in list_folders(work):
            clear_checkpoints(place)
        self._tidy(work)

    def amend(self, result: Result) -> None:
        """Write a record anew to which something was added."""
        write_whole(self.record_file(result.trial), dump(seal(result)))

    def keep(self, trial: Trial, weights: bytes, answers: Answers) -> None:
        """Write a trained network's weights, as a file holds them, and what it answers."""
        for folder in (self.weights, self.answers):
            folder.mkdir(parents=True, exist_ok=True)
        self._write(self.weights / f"{trial.id}.pt", weights)
        self._write(self.answers / f"{trial.id}.json", dump(seal(replace(answers, file=digest(weights)))))

    def read_answers(self, result: Result) -> Answers | None:
        """What the network of a record answers; None where that was not kept, or is damaged or another's."""
        answers = try_unseal(self.answers / f"{result.trial.id}.json", Answers)
        return answers if isinstance(answers, Answers) and answers.weights == result.weights else None

    def lacks_answers(self, record: Result, keep: bool) -> bool:
        """Whether a record is without what was to be kept of it."""
        return keep and self.read_answers(record) is None

    def migrate(self) -> int:
        """Rename what has an id from before ids grew by what differs alone; return how many records that was."""
        renamed = {
            file.stem: record.trial.id for file, record in self._read_files().items() if isinstance(record, Result)
        }
        old = {before: now for before, now in renamed.items() if before != now}
        for before, now in old.items():
            for folder, suffix in ((self.weights, "pt"), (self.answers, "json"), (self.trials, "json")):
                file = folder / f"{before}.{suffix}"
                new = folder / f"{now}.{suffix}"
                if os.path.lexists(file) and not os.path.lexists(new):
                    file.rename(new)
        return len(old)

    def _unseal_answers(self) -> dict[Path, Answers | str]:
        """All kept answers by file; of those that are damaged, what is wrong."""
        return {file: try_unseal(file, Answers) for file in list_entries(self.answers, rf"{ID}\.json")}

    def find_damaged_answers(self) -> dict[Path, str]:
        return {file: fault for file, fault in self._unseal_answers().items() if isinstance(fault, str)}

    def find_changed(self) -> dict[Path, str]:
        """What is wrong with kept answers and weights."""
        found = self._unseal_answers()
        faults = {file: fault for file, fault in found.items() if isinstance(fault, str)}
        for file in list_entries(self.weights, rf"{ID}\.pt"):
            answers = found.get(self.answers / f"{file.stem}.json")
            try:
                if not isinstance(answers, Answers):
                    faults[file] = "cannot be checked: the answers beside it are missing or damaged"
                elif answers.file != digest_file(file):
                    faults[file] = "is damaged"
            except OSError as error:
                faults[file] = f"cannot be read: {error.strerror}"
        return faults

    def put_aside(self, record: Path) -> Path:
        """Move a record out of the way, whatever it is, under a name of its own."""
        return put_aside(record, self.aside)

    def save_failure(self, trial: Trial, summary: str, cause: str) -> Path:
        """Keep why a trial has no record."""
        self.failed.mkdir(exist_ok=True)
        file = self.failure_file(trial)
        self._write(file, mask(f"{trial.description}: {summary}\n\n{cause}").encode(errors="backslashreplace"))
        return file

    def failure(self, trial: Trial) -> str:
        """Why the trial has no record, in a line; empty where it has not failed."""
        try:
            lines = read_text(self.failure_file(trial)).splitlines() or [""]
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            return f"the reason cannot be read: {error.strerror}"
        return lines[0].partition(": ")[2] or "the reason is not known"

    def contents(self) -> Contents:
        """All that is drawn from; rungs that are one network share a record. Raises a ValueError where no plan is."""
        plan, (records, damaged) = self.plan(), self.read()
        trials = plan.trials()
        results = [name_as(records[trial.id], trial) for trial in trials if trial.id in records]
        foreign = sorted(records.keys() - {trial.id for trial in trials})
        faults = damaged | {self.trials / f"{name}.json": "belongs to another configuration" for name in foreign}
        return Contents(plan, results, faults)

    def results(self) -> list[Result]:
        """The whole records that belong to the plan, in its order."""
        return list(self.contents().results)

    def record(self, trial: Trial) -> Result | None:
        """The trial's own record, if there is a whole one."""
        result = try_unseal(self.record_file(trial), Result)
        return result if isinstance(result, Result) else None

    def read(self) -> tuple[dict[str, Result], dict[Path, str]]:
        """Every whole record by its trial's id; every other file in the records' place, and what is wrong with it."""
        found = self._read_files()
        whole = {file.stem: result for file, result in found.items() if isinstance(result, Result)}
        records = {result.trial.id: result for result in whole.values()} | {
            name: result for name, result in whole.items() if name == result.trial.id
        }
        return records, {file: fault for file, fault in found.items() if isinstance(fault, str)}

    def _read_files(self) -> dict[Path, Result | str]:
        return {file: try_unseal(file, Result) for file in list_entries(self.trials, rf"{ID}\.json")}

    def faults(self) -> dict[Path, str]:
        """What is wrong with files in the records' place: damaged, or of trials that the plan has not."""
        return dict(self.contents().faults)


def read_study(folder: StudyFolder, partial: bool = False) -> Contents:
    """What there is to draw; ``partial``: leave records out that are damaged or do not belong.

    Raises:
        ValueError: no study, no finished trial, or such a record.
    """
    contents = folder.contents()
    if contents.faults and not partial:
        (file, why), *more = contents.faults.items()
        others = f" (and {len(more)} more)" if more else ""
        raise ValueError(f"{file} {why}{others}; --partial draws the rest, and run trains what is lost again")
    if not contents.results:
        raise ValueError(f"{folder.folder} has no finished trial")
    return contents
