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
    """A study in its folder: what was trained, and what that says.

    What is drawn is drawn from the records, read anew each time. Where one of them is damaged or of another
    configuration that is a ValueError, unless ``partial`` leaves it out; so is a study without a finished trial.
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
        """What each finished trial gave, in the plan's order."""
        return list(self._read().results)

    def steps(self) -> "list[Step]":
        """Each rung with its results over seeds, and estimates of what it changes."""
        from ablations.analysis.stats import summarize

        contents = self._read()
        return summarize(contents.plan, contents.results)

    def table(self) -> "pd.DataFrame":
        """A line a step, as in results.csv: accuracies in percent, changes in points, seconds a trial, memory in MB."""
        from ablations.analysis.tables import to_frame

        return to_frame(self.steps())

    def doubts(self) -> "list[Doubt]":
        """Why it cannot answer what it asks: too few steps, images or seeds, and what would help."""
        from ablations.analysis.doubts import find_doubts, list_seeds
        from ablations.training.seen import find_seen

        plan, results = self.plan, self.records()
        return find_doubts(plan, find_seen(plan, results), list_seeds(results))

    @checked()
    def chart(self, name: str = "accuracy") -> "Figure":
        """One of the study's charts; an unknown name is a ValueError that has the others."""
        from ablations.report.publish import draw_chart

        return draw_chart(self._files, self._read(), name)

    def failures(self) -> list[tuple[Trial, str]]:
        """The trials whose last attempt has failed, and why."""
        found = ((trial, self._files.failure(trial)) for trial in self.plan.trials())
        return [(trial, why) for trial, why in found if why]

    def status(self) -> "list[State]":
        """How far each trial is, and whether its record is what a run here and now would give."""
        from ablations.training.current_origin import find_origin
        from ablations.training.status import Wanted, survey

        states, _ = survey(self._files, self.plan, Wanted(find_origin(self.plan)))
        return states

    def verify(self) -> dict[Path, str]:
        """The files that are not what their digests say, and what is wrong with each."""
        from ablations.training.checks import check_files

        return check_files(self._files)

    @checked()
    def verify_trial(self, name: str) -> bool:
        """Train one trial again, whole, and say whether its outcome is the record's; ``name``: its id, or RUNG:SEED."""
        from ablations.engines.verify import find_record, verify_trial
        from ablations.training.checks import check_alone, check_plan

        record = find_record(self._files.results(), name)
        check_alone(self.plan, "--trial")
        return verify_trial(record, check_plan(self.plan), say)

    def verify_again(self) -> bool:
        """Take every trial's first steps again, train one whole, and say whether all are what the records hold.

        If so, today's code is entered beside the old into the records, which then hold for it.
        """
        from ablations.engines.choose import share_machine
        from ablations.engines.verify import repeat_all
        from ablations.training.checks import check_alone, check_plan

        check_alone(self.plan, "--again")
        check_plan(self.plan)
        return repeat_all(self._files, share_machine(self.plan), say)

    def count_records(self) -> int:
        """The whole records in its folder."""
        return len(self._files.read()[0])

    def draw(self) -> list[Path]:
        """Write its table and charts into its folder, and show the table; return the files."""
        from ablations.report.publish import draw

        return draw(self._files, self._read(), page=False).files

    def report(self) -> list[Path]:
        """The same, and a page of it all, report.html."""
        from ablations.report.publish import draw

        return draw(self._files, self._read()).files

    def send(self, mode: Mode = "online") -> bool:
        """Send it to W&B from its records, or again; return whether all of it was taken."""
        mode, contents = choose_sending(mode), self._read()
        from ablations.report.publish import send

        return send(self._files, contents, mode)

    def _read(self) -> Contents:
        return read_study(self._files, self.partial)


def open_study(folder: str | Path, partial: bool = False) -> "Study":
    """A study that a run has left in a folder. Raises a ValueError where there is none.

    ``partial``: leave records out that are damaged or of another configuration, in place of an error.
    """
    study = Study(folder, partial)
    _ = study.plan
    return study
