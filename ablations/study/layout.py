"""Where a study's folder keeps what.

- ``study.json``: the terms and the rungs; ``commands.txt``: the commands that trained them;
- ``study.log``: what those have said, and when;
- ``trials/ID.json``: a record for each finished trial, with its digest: the truth from which all else is drawn;
- ``weights/ID.pt``, ``answers/ID.json``: the trained network and its answers, where a run was to keep them;
- ``failed/ID.txt``: why a trial has no record;
- ``running/ID``: the lock and the checkpoints of a trial that has begun; ``running/driver`` is the driver's lock;
- ``aside/``: records that were damaged, or that newer ones replaced, and what else lay where the study writes.

Trials and origins are named by ids (:data:`ablations.study.entries.ID`). Whatever has another name is not the study's:
it is not read, not removed, and a folder that holds it is not empty.
"""

import os
from pathlib import Path

from ablations.study.entries import ID, list_entries, list_folders, list_others
from ablations.study.locks import DRIVER, is_lock
from ablations.study.places import find_folder
from ablations.study.trial import Trial

LOCK = "lock"  # the name of a trial's


class Layout:
    """The places of a study's folder, none of which need be there."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = find_folder(folder, "a study")
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

    def record_file(self, trial: Trial) -> Path:
        return self.trials / f"{trial.id}.json"

    def failure_file(self, trial: Trial) -> Path:
        return self.failed / f"{trial.id}.txt"

    def list_others(self) -> list[str]:
        """What a folder without a study holds, but for what an unfinished beginning leaves."""
        place = next(place for place in (self.folder, *self.folder.absolute().parents) if os.path.lexists(place))
        if not place.is_dir():
            raise ValueError(f"{place} is not a folder; choose another --study")
        if not os.access(place, os.W_OK | os.X_OK):
            raise ValueError(f"{place} may not be written by you; choose another --study")
        draft = rf"\.{self.plan_file.name}\.\d+\.draft"
        there = list_others(self.folder, draft, (self.running, self.trials))
        lock = DRIVER.name if is_lock(self.folder / DRIVER) else "(?!)"
        return [*there, *list_others(self.running, lock), *list_others(self.trials)]

    def check_places(self) -> None:
        """Refuse a study that could not be written to, since something else lies where a folder is to be."""
        for place in (self.trials, self.weights, self.answers, self.failed, self.running, self.aside):
            if os.path.lexists(place) and not place.is_dir():
                raise ValueError(
                    f"{place} is not a folder; move it away, because the study needs this name for a folder"
                )
        works, own = list_entries(self.running, ID), list_folders(self.running)
        wrong = [work for work in works if work not in own]
        wrong += [lock for work in own if os.path.lexists(lock := work / LOCK) and not is_lock(lock)]
        if wrong:
            raise ValueError(f"{wrong[0]} is not part of the study; move it away, because the study needs this name")
