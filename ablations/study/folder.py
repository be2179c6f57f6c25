"""A study's folder, which keeps what is to be done and what was done.

- ``study.json``: the terms and the rungs; ``commands.txt``: the commands that trained them;
- ``study.log``: what those have said, and when;
- ``trials/ID.json``: a record for each finished trial, with its digest: the truth from which all else is drawn;
- ``weights/ID.pt``, ``answers/ID.json``: the trained network and its answers, where a run was to keep them;
- ``failed/ID.txt``: why a trial has no record;
- ``running/ID``: the lock and the checkpoints of a trial that has begun; ``running/driver`` is the driver's lock;
- ``aside/``: records that were damaged, or that newer ones replaced.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ablations.study.locks import DRIVER, describe_driver, hold, is_held
from ablations.study.origin import Origin
from ablations.study.predictions import Answers
from ablations.study.records import dump, name_as, seal, try_unseal
from ablations.study.trial import Plan, Result, Trial, hash_json
from convnext_path.files import DRAFT, digest, remove_drafts, write_whole


@dataclass(frozen=True)
class Contents:
    """What a study's folder holds, read once."""

    plan: Plan
    results: Sequence[Result]  # the whole records that belong to the plan, in its order
    faults: Mapping[Path, str]  # what is wrong with other files in their place


class StudyFolder:
    """A study's folder. Nothing but locks is written before :meth:`begin`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.trials = self.folder / "trials"
        self.weights = self.folder / "weights"
        self.answers = self.folder / "answers"
        self.failed = self.folder / "failed"
        self.running = self.folder / "running"
        self.aside = self.folder / "aside"
        self.plan_file = self.folder / "study.json"
        self.commands_file = self.folder / "commands.txt"
        self.log_file = self.folder / "study.log"

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def plan(self) -> Plan:
        """The plan that the folder holds. Raises a ValueError where there is none, or none that can be read."""
        if not self.plan_file.is_file():
            raise ValueError(f"{self.folder} holds no study (no {self.plan_file.name})")
        try:
            return Plan.from_dict(json.loads(self.plan_file.read_bytes()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.plan_file} holds no Plan: {error}") from None

    def merge(self, plan: Plan) -> Plan:
        """The folder's plan with the rungs and seeds of ``plan`` added.

        Raises:
            ValueError: the folder holds a study under other terms, or something else; the message says what.
        """
        if not self.plan_file.exists():
            if self.folder.exists() and not (self.folder.is_dir() and self._is_bare()):
                raise ValueError(f"{self.folder} exists and holds no study; name another --study")
            return plan
        there = self.plan()
        if conflicts := there.conflicts(plan):
            raise ValueError(f"{self.folder} holds another configuration; name another --study. {'; '.join(conflicts)}")
        return there.add(plan)

    def _is_bare(self) -> bool:
        """Whether nothing but an unfinished beginning is there."""
        return all(
            file == self.running or file.name.startswith(DRAFT) or (file == self.trials and not any(file.iterdir()))
            for file in self.folder.iterdir()
        )

    def begin(self, plan: Plan, command: str = "") -> None:
        """Make the folder and write the plan and the command. Raises an OSError where that cannot be."""
        self.trials.mkdir(parents=True, exist_ok=True)
        write_whole(self.plan_file, dump(plan.to_dict()))
        if command not in ("", *self.commands()):
            write_whole(self.commands_file, "".join(f"{line}\n" for line in (*self.commands(), command)).encode())

    def commands(self) -> list[str]:
        """Each command that trained here, once, in order."""
        return self.commands_file.read_text().splitlines() if self.commands_file.exists() else []

    @contextmanager
    def lead(self) -> Iterator[None]:
        """Be the folder's one driver. Raises a ValueError that names the other where there is one."""
        try:
            with hold(self.folder / DRIVER) as alone:
                if not alone:
                    raise ValueError(describe_driver(self.folder))
                for place in (self.folder, self.weights, self.answers, self.failed):
                    remove_drafts(place)
                yield
        finally:
            self._tidy(self.running)
            with suppress(OSError):
                self.folder.rmdir()  # where nothing was begun

    @contextmanager
    def claim(self, trial: Trial, origin: Origin) -> Iterator[Path | None]:
        """A folder for the trial's checkpoints, held for us; None where another process has it.

        Checkpoints of another origin are no part of this trial, and are removed.
        """
        work = self.running / trial.id
        with hold(work / "lock") as mine:
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
        for other in work.iterdir():
            if other.is_dir() and other != place:
                shutil.rmtree(other)
        remove_drafts(self.trials, f"{trial.id}.")
        remove_drafts(place)

    def is_running(self, trial: Trial) -> bool:
        """Whether a living process holds the trial."""
        return is_held(self.running / trial.id / "lock")

    def checkpoints(self, trial: str = "*") -> list[Path]:
        """The checkpoints of a trial's id, or of every one's, of whatever origin; a trial's by epoch."""
        return sorted(self.running.glob(f"{trial}/*/*.ckpt"))

    def save(self, result: Result) -> None:
        """Write a record, keep the one it replaces, and clear the trial's failure and checkpoints."""
        file, content = self._record(result.trial), dump(seal(result))
        if file.exists() and file.read_bytes() != content:
            self.put_aside(file)
        write_whole(file, content)
        (self.failed / f"{result.trial.id}.txt").unlink(missing_ok=True)
        shutil.rmtree(self.running / result.trial.id, ignore_errors=True)

    def amend(self, result: Result) -> None:
        """Write a record anew to which something was added."""
        write_whole(self._record(result.trial), dump(seal(result)))

    def keep(self, trial: Trial, weights: bytes, answers: Answers) -> None:
        """Write a trained network's weights, as a file holds them, and what it answers."""
        for folder in (self.weights, self.answers):
            folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.weights / f"{trial.id}.pt", weights)
        write_whole(self.answers / f"{trial.id}.json", dump(seal(replace(answers, file=digest(weights)))))

    def read_answers(self, result: Result) -> Answers | None:
        """What the network of a record answers; None where that was not kept, or is damaged or another's."""
        file = self.answers / f"{result.trial.id}.json"
        answers = try_unseal(file, Answers) if file.exists() else None
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
                if file.exists() and not (new := folder / f"{now}.{suffix}").exists():
                    file.rename(new)
        return len(old)

    def find_changed(self) -> dict[Path, str]:
        """What is wrong with kept answers and weights."""
        found = {file: try_unseal(file, Answers) for file in sorted(self.answers.glob("[!.]*.json"))}
        faults = {file: fault for file, fault in found.items() if isinstance(fault, str)}
        for file in sorted(self.weights.glob("[!.]*.pt")):
            answers = found.get(self.answers / f"{file.stem}.json")
            if isinstance(answers, Answers) and answers.file != digest(file.read_bytes()):
                faults[file] = "is damaged"
        return faults

    def put_aside(self, record: Path) -> Path:
        """Move a record out of the way, under a name of its own."""
        self.aside.mkdir(exist_ok=True)
        return record.replace(self.aside / f"{record.stem}-{digest(record.read_bytes())[:8]}.json")

    def save_failure(self, trial: Trial, summary: str, cause: str) -> Path:
        """Keep why a trial has no record."""
        self.failed.mkdir(exist_ok=True)
        file = self.failed / f"{trial.id}.txt"
        write_whole(file, f"{trial.description}: {summary}\n\n{cause}".encode())
        return file

    def failure(self, trial: Trial) -> str:
        """Why the trial has no record, in a line; empty where it has not failed."""
        file = self.failed / f"{trial.id}.txt"
        return file.read_text().splitlines()[0].partition(": ")[2] if file.exists() else ""

    def contents(self) -> Contents:
        """All that is drawn from; rungs that are one network share a record. Raises a ValueError where no plan is."""
        plan, (records, damaged) = self.plan(), self.read()
        trials = plan.trials()
        results = [name_as(records[trial.id], trial) for trial in trials if trial.id in records]
        foreign = sorted(records.keys() - {trial.id for trial in trials})
        faults = damaged | {self.trials / f"{name}.json": "is of another configuration" for name in foreign}
        return Contents(plan, results, faults)

    def results(self) -> list[Result]:
        """The whole records that belong to the plan, in its order."""
        return list(self.contents().results)

    def record(self, trial: Trial) -> Result | None:
        """The trial's own record, if there is a whole one."""
        file = self._record(trial)
        result = try_unseal(file, Result) if file.exists() else None
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
        return {file: try_unseal(file, Result) for file in sorted(self.trials.glob("[!.]*.json"))}

    def faults(self) -> dict[Path, str]:
        """What is wrong with files in the records' place: damaged, or of trials that the plan has not."""
        return dict(self.contents().faults)

    def _record(self, trial: Trial) -> Path:
        return self.trials / f"{trial.id}.json"


def read_study(folder: StudyFolder, partial: bool = False) -> Contents:
    """What there is to draw; ``partial``: leave records out that are damaged or do not belong.

    Raises:
        ValueError: no study, no finished trial, or such a record.
    """
    contents = folder.contents()
    if contents.faults and not partial:
        (file, why), *more = contents.faults.items()
        others = f" (and {len(more)} more)" if more else ""
        raise ValueError(f"{file} {why}{others}; --partial draws the others, run trains what is lost again")
    if not contents.results:
        raise ValueError(f"{folder.folder} holds no finished trial")
    return contents
