"""A study in its folder, as people hold it: its records, what they say, charts and pages of it."""

from pathlib import Path
from typing import TYPE_CHECKING

from ablations.api.arguments import checked
from ablations.console import say
from ablations.study.folder import Contents, StudyFolder, read_study
from ablations.study.keeping import Mode, choose_sending
from ablations.study.trial import Plan, Result, Trial

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ablations.analysis.doubts import Doubt
    from ablations.analysis.stats import Step
    from ablations.training.status import State


class Study:
    """A study in its folder: the records of its trials, and tables, charts and checks made from them.

    Each method reads the records again. A method that needs results raises a ValueError if no trial is finished, or
    if a record is damaged or belongs to another configuration. With ``partial``, such a record is left out instead.
    """

    @checked()
    def __init__(self, folder: str | Path, partial: bool = False) -> None:
        self._files, self.partial = StudyFolder(folder), partial

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r})"

    @property
    def folder(self) -> Path:
        return self._files.folder

    @property
    def plan(self) -> Plan:
        return self._files.plan()

    def records(self) -> list[Result]:
        """The record of each finished trial, in the order of the plan."""
        return list(self._read().results)

    def steps(self) -> "list[Step]":
        """Each rung with its records, and estimates of its accuracy and of its change over seeds."""
        from ablations.analysis.stats import summarize

        contents = self._read()
        return summarize(contents.plan, contents.results)

    def table(self) -> "pd.DataFrame":
        """One row per rung, as in results.csv.

        Accuracies are in percent, changes in points, time in seconds per trial, memory in MB.
        """
        from ablations.analysis.tables import to_frame

        return to_frame(self.steps())

    def doubts(self) -> "list[Doubt]":
        """Why the study cannot answer its question well (too few steps, images or seeds), and what would help."""
        from ablations.analysis.doubts import find_doubts, list_seeds
        from ablations.training.seen import find_seen

        plan, results = self.plan, self.records()
        return find_doubts(plan, find_seen(plan, results), list_seeds(results))

    @checked()
    def chart(self, name: str = "accuracy") -> "Figure":
        """One of the study's charts, such as ``"accuracy"``. A ValueError for an unknown name lists the known ones."""
        from ablations.report.publish import draw_chart

        return draw_chart(self._files, self._read(), name)

    def failures(self) -> list[tuple[Trial, str]]:
        """The trials whose last attempt failed, each with the reason."""
        found = ((trial, self._files.failure(trial)) for trial in self.plan.trials())
        return [(trial, why) for trial, why in found if why]

    def status(self) -> "list[State]":
        """The state of each trial, and whether its record holds for today's code, images and versions."""
        from ablations.training.current_origin import find_origin
        from ablations.training.status import Wanted, survey

        states, _ = survey(self._files, self.plan, Wanted(find_origin(self.plan)))
        return states

    def verify(self) -> dict[Path, str]:
        """The files that do not match their digests, each with what is wrong."""
        from ablations.training.checks import check_files

        return check_files(self._files)

    @checked()
    def verify_trial(self, name: str) -> bool:
        """Train one complete trial again and return whether the outcome matches its record.

        ``name`` is the trial's id, or RUNG:SEED.
        """
        from ablations.engines.verify import find_record, verify_trial
        from ablations.training.checks import check_alone, check_plan

        record = find_record(self._files.results(), name)
        check_alone(self.plan, "--trial")
        return verify_trial(record, check_plan(self.plan), say)

    def verify_again(self) -> bool:
        """Repeat the first steps of every trial, and one complete trial. Return whether all match their records.

        If they do, the records are marked as valid for today's code too.
        """
        from ablations.engines.choose import share_machine
        from ablations.engines.verify import repeat_all
        from ablations.training.checks import check_alone, check_plan

        check_alone(self.plan, "--again")
        check_plan(self.plan)
        return repeat_all(self._files, share_machine(self.plan), say)

    def count_records(self) -> int:
        """The number of intact records in the folder."""
        return len(self._files.read()[0])

    def draw(self) -> list[Path]:
        """Write the table and the charts into the folder and print the table. Return the files."""
        from ablations.report.publish import draw

        return draw(self._files, self._read(), page=False).files

    def report(self) -> list[Path]:
        """Do what :meth:`draw` does, and also write the page report.html. Return the files."""
        from ablations.report.publish import draw

        return draw(self._files, self._read()).files

    def send(self, mode: Mode = "online") -> bool:
        """Send the study to Weights & Biases (W&B), in place of what was sent before. Return whether all arrived."""
        mode, contents = choose_sending(mode), self._read()
        from ablations.report.publish import send

        return send(self._files, contents, mode)

    def _read(self) -> Contents:
        return read_study(self._files, self.partial)


def open_study(folder: str | Path, partial: bool = False) -> "Study":
    """Open the study in a folder. Raises a ValueError if there is none.

    ``partial``: leave out records that are damaged or belong to another configuration, instead of raising an error.
    """
    study = Study(folder, partial)
    _ = study.plan
    return study
