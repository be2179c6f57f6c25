"""What the command line does, from Python; ``import ablations`` gives these names.

What cannot be had is a ValueError, in the words of the command line. torch, and what draws, is loaded when needed.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from inspect import Parameter, Signature, signature
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Literal, ParamSpec

from ablations.console import say
from ablations.engines.resources import EngineOptions as EngineOptions
from ablations.engines.resources import Resources
from ablations.planning.profiles import Machine
from ablations.study.folder import Contents, StudyFolder, read_study
from ablations.study.keeping import Keeping, Mode, choose_sending
from ablations.study.request import LadderRequest, ModelsRequest, Request, choose_ladders, make_plan
from ablations.study.trainer import TrainerOptions as TrainerOptions
from ablations.study.trial import Plan, Result, Trial
from convnext_path.frozen import within

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ablations.analysis.stats import Step
    from ablations.planning.budget import Budget
    from ablations.training.status import State

P = ParamSpec("P")


def make_planner(name: str, request: Callable[P, Request], purpose: str) -> Callable[P, Plan]:
    """A function that takes a request's fields by name, each with its type, default and line of help."""

    def make(*args: P.args, **options: P.kwargs) -> Plan:
        asked = request(*args, **options)
        plan = make_plan(asked)
        if asked.here:
            from ablations.training.checks import check_plan

            check_plan(plan)
        return plan

    parameters = sort_parameters(request)
    make.__name__, make.__qualname__, make.__doc__ = name, name, describe(request, purpose)
    make.__signature__ = Signature(parameters, return_annotation=Plan)  # type: ignore[attr-defined]
    return make


def sort_parameters(request: Callable[P, Request]) -> list[Parameter]:
    """Those of a request, its own before those of its base."""
    own = vars(request)["__annotations__"]
    return sorted(signature(request).parameters.values(), key=lambda parameter: parameter.name not in own)


def describe(request: Callable[P, Request], purpose: str) -> str:
    """The docstring of a function of its fields."""
    about = {f.name: f.metadata["help"] for f in fields(request)}  # type: ignore[arg-type]
    lines = (f"    {parameter.name}: {about[parameter.name]}." for parameter in sort_parameters(request))
    wrong = "    ValueError: whatever would fail once trials run, and what is allowed; nothing is trained yet."
    return "\n".join((purpose, "", "Args:", *lines, "", "Raises:", wrong))


plan = make_planner("plan", LadderRequest, "A study of a ladder's rungs over seeds.")
compare = make_planner(
    "compare", ModelsRequest, "A study of networks by name; run with keep=True, it shows their answers."
)


def run(
    plan: Plan,
    folder: str | Path | None = None,
    *,
    workers: int | Literal["auto"] = Resources.workers,
    loader_workers: int | None = Resources.loader_workers,
    engine: EngineOptions = Resources.engine,
    wandb: Mode = Keeping.wandb,
    keep: bool = Keeping.keep,
    join: bool = Keeping.join,
    strict: bool = Keeping.strict,
    keep_stale: bool = Keeping.keep_stale,
    dry_run: bool = Keeping.dry_run,
) -> "Study":
    """Train what a plan holds and its study lacks, draw what there is, and say how it goes.

    Interrupted, it goes on from there when it is called again. A trial that fails ends nothing: see
    :meth:`Study.failures`. In a script, call it under ``if __name__ == "__main__"``: trials are processes of their own.

    Args:
        plan: what to train.
        folder: of the study (default: results/LADDER-DATA).
        workers: trials at a time.
        loader_workers: processes that read a trial's images (default: by cores).
        engine: where trials run.
        wandb: whether W&B hears of them.
        keep: the networks' weights and answers too.
        join: help a driver that trains the study.
        strict: train records again that another machine has rounded otherwise.
        keep_stale: take records of other code, versions or data for done.
        dry_run: only say what would be trained, and about how long it takes.

    Raises:
        ValueError: what speaks against it; nothing is trained then.
        OSError: a file cannot be written; what is done is kept.
    """
    from ablations.driver import open_run

    resources = Resources(workers, loader_workers, engine)
    keeping = Keeping(folder, wandb, keep, join, strict, keep_stale, dry_run)  # type: ignore[arg-type]  # a path becomes text
    with open_run(plan, keeping, resources) as ready:
        ready.show()
        ready.train()
    return Study(keeping.find_folder(plan))


def open_study(folder: str | Path, partial: bool = False) -> "Study":
    """A study that a run has left in a folder. Raises a ValueError where there is none.

    ``partial``: leave records out that are damaged or of another configuration, in place of an error.
    """
    study = Study(folder, partial)
    _ = study.plan
    return study


def foresee(
    plan: Plan,
    *,
    bench: str | Path | None = None,
    profile: str | None = None,
    memory: float | None = None,
    workers: int | Literal["auto"] = Resources.workers,
    loader_workers: int | None = Resources.loader_workers,
) -> "Budget":
    """What a run of a plan would take: time, memory, disk, money.

    Args:
        plan: made with ``here=False`` if its images are not on this machine.
        bench: a benchmark's folder, for its machine (default: measure here).
        profile: a GPU that others measured.
        memory: of a device, GB.
        workers: trials at a time, here.
        loader_workers: processes that read a trial's images, here.

    Raises:
        ValueError: the plan cannot be carried out there, or nothing is known of it.
    """
    from ablations.planning.budget import foresee

    machine = Machine(bench=bench, profile=profile, memory=memory)  # type: ignore[arg-type]  # a path becomes text
    return foresee(plan, machine, Resources(workers, loader_workers))


def costs(ladder: str | None = None, image_size: int = 224) -> "pd.DataFrame":
    """Multiply-accumulates, parameters and activations of each rung, beside the published figures.

    Args:
        ladder: its name (default: those of the two ladders that are published).
        image_size: side in pixels.

    Raises:
        ValueError: an unknown ladder, or images too small or too large for it.
    """
    names = choose_ladders(ladder, image_size)
    import pandas as pd

    from ablations.analysis.tables import count_ladder

    return pd.json_normalize([row for name in names for row in count_ladder(name, image_size)])


def explain(step: str, ladder: str = "convnext-t", before: str | None = None) -> str:
    """What a step changes, as text: the parts of the network before and after it, and what they cost at 224 x 224.

    Args:
        step: a rung's name; a line that only one side has is marked by a ``*``.
        ladder: its ladder's.
        before: the rung to compare it with (default: the last adopted one before it).

    Raises:
        ValueError: an unknown ladder or rung.
    """
    from ablations.report.blocks import explain

    return explain(ladder, step, before)


def prepare(root: str | Path, out: str | Path, workers: int = 4, skip_bad_images: bool = False) -> int:
    """Make a stream of a folder of images, which ``root`` of a plan takes in the folder's place.

    Args:
        root: the folder, as data ``imagefolder`` takes it.
        out: a new folder, or a URL of object storage.
        workers: processes that write.
        skip_bad_images: leave out files that cannot be decoded, in place of an error.

    Returns:
        How many images it has.

    Raises:
        ValueError: no such images, or nowhere to write.
    """
    within("--workers", workers, 1, 1024)
    from convnext_path.data.datasets import read_folders
    from convnext_path.data.stream import check_empty, write_stream

    there = str(out) if "://" in str(out) else str(Path(out).expanduser())
    check_empty(there)
    classes, found = read_folders(str(root), skip_bad_images)
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:  # litdata sets signals and ways to start processes
        try:
            alone.submit(write_stream, classes, found, there, workers).result()
        except RuntimeError as error:
            raise ValueError(str(error)) from None
    return sum(len(images.files) for images in found)


class Study:
    """A study in its folder: what was trained, and what that says.

    What is drawn is drawn from the records, read anew each time. Where one of them is damaged or of another
    configuration that is a ValueError, unless ``partial`` leaves it out; so is a study without a finished trial.
    """

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
        from ablations.training.here import find_origin
        from ablations.training.status import Wanted, survey

        states, _ = survey(self._files, self.plan, Wanted(find_origin(self.plan)))
        return states

    def verify(self) -> dict[Path, str]:
        """The files that are not what their digests say, and what is wrong with each."""
        from ablations.training.checks import check_files

        return check_files(self._files)

    def verify_trial(self, name: str) -> bool:
        """Train one trial again, whole, and say whether its outcome is the record's; ``name``: its id, or RUNG:SEED."""
        from ablations.engines.repeat import find_record, verify_trial
        from ablations.training.checks import check_alone, check_plan

        record = find_record(self._files.results(), name)
        check_alone(self.plan, "--trial")
        return verify_trial(record, check_plan(self.plan), say)

    def verify_again(self) -> bool:
        """Take every trial's first steps again, train one whole, and say whether all are what the records hold.

        If so, today's code is entered beside the old into the records, which then hold for it.
        """
        from ablations.engines.choose import share_machine
        from ablations.engines.repeat import repeat_all
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
