"""What may be done with a plan or without one: train it, foresee what that takes, count costs, prepare images."""

from multiprocessing import current_process
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ablations.api.arguments import checked
from ablations.api.study import Study
from ablations.engines.resources import EngineOptions, Resources
from ablations.fields import Options
from ablations.planning.profiles import Machine
from ablations.study.keeping import Keeping, Mode
from ablations.study.places import check_places, find_folder, make_absolute
from ablations.study.request import choose_ladders
from ablations.study.trial import Plan
from convnext_path.data.selection import Data
from convnext_path.frozen import within
from convnext_path.words import refuse_secrets

if TYPE_CHECKING:
    import pandas as pd

    from ablations.planning.budget import Budget
    from ablations.report.anatomy import Explanation


@checked()
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
    """Train the trials of a plan that have no record yet, and draw the study. Progress is printed.

    If it is interrupted, call it again: it resumes. A trial that fails does not stop the others; see
    :meth:`Study.failures`. In a script, call it under ``if __name__ == "__main__"``, because each trial runs in a
    process of its own.

    Args:
        plan: what to train.
        folder: folder of the study (default: results/LADDER-DATA).
        workers: trials at a time.
        loader_workers: processes that load a trial's images (default: depends on the number of cores).
        engine: where trials run.
        wandb: how to log to Weights & Biases: disabled, offline or online.
        keep: also keep the networks' weights and their answers to the validation images.
        join: help another run to train the study.
        strict: also train again what was computed with different rounding, such as on another processor.
        keep_stale: count records made by other code, versions or images as done.
        dry_run: only print what would be trained, and about how long it would take.

    Raises:
        ValueError: the run cannot work. Nothing is trained then.
        OSError: a file cannot be written. Finished work is kept.
    """
    refuse_import()
    from ablations.driver import open_run

    resources = Resources(workers, loader_workers, engine)
    keeping = Keeping(folder, wandb, keep, join, strict, keep_stale, dry_run)  # type: ignore[arg-type]  # a path becomes text
    with open_run(plan, keeping, resources) as ready:
        ready.show()
        ready.train()
    return Study(keeping.find_folder(plan))


def refuse_import() -> None:
    """Raise a ValueError in a trial's process that imports the script which started it, and would start it again."""
    if getattr(current_process(), "_inheriting", False):
        guard = 'if __name__ == "__main__":'
        raise ValueError(f"call ablations.run under {guard} the processes of trials import your script again")


@checked()
def foresee(
    plan: Plan,
    *,
    bench: str | Path | None = None,
    profile: str | None = None,
    memory: float | None = None,
    workers: int | Literal["auto"] = Resources.workers,
    loader_workers: int | None = Resources.loader_workers,
) -> "Budget":
    """Estimate what a run of a plan would take: time, memory, disk space and money.

    Args:
        plan: what to train. Make it with ``here=False`` if the images are not on this machine.
        bench: folder of a benchmark, to plan for its machine (default: measure this machine).
        profile: a GPU with published measurements, such as ``"a100"``.
        memory: memory of one device in GB (default: that of the machine planned for).
        workers: trials at a time on this machine.
        loader_workers: processes that load a trial's images on this machine.

    Raises:
        ValueError: the plan cannot run on that machine, or its speed there is not known.
    """
    from ablations.planning.budget import foresee

    machine = Machine(bench=bench, profile=profile, memory=memory)  # type: ignore[arg-type]  # a path becomes text
    return foresee(plan, machine, Resources(workers, loader_workers))


@checked(Options.spell)
def costs(ladder: str | None = None, image_size: int = 224) -> "pd.DataFrame":
    """Count multiply-accumulates, parameters and activations of each rung, beside the published numbers.

    Args:
        ladder: name of the ladder (default: the two published ones, convnext-t and convnext-b).
        image_size: height and width of the images in pixels.

    Raises:
        ValueError: an unknown ladder, or images too small or too large for it.
    """
    names = choose_ladders(ladder, image_size)
    import pandas as pd

    from ablations.analysis.tables import count_ladder

    return pd.json_normalize([row for name in names for row in count_ladder(name, image_size)])


@checked()
def explain(step: str, ladder: str = "convnext-t", before: str | None = None) -> "Explanation":
    """Show what a step changes: parts of the network before and after it, and what the networks cost at 224 x 224.

    A notebook shows the result as a picture. ``print`` writes it as text; a ``*`` marks a line that only one side has.

    Args:
        step: name of a rung.
        ladder: name of its ladder.
        before: the rung to compare it with (default: the last adopted one before it).

    Raises:
        ValueError: an unknown ladder or rung.
    """
    from ablations.report.anatomy import explain

    return explain(ladder, step, before)


@checked(Options.spell)
def prepare(root: str | Path, out: str | Path, workers: int = 4, skip_bad_images: bool = False) -> int:
    """Pack a folder of images into large files (a stream), for remote storage. ``root`` of a plan accepts the stream.

    Args:
        root: folder of the images, as for ``data="imagefolder"``.
        out: a new folder, or a URL of object storage.
        workers: processes that write the stream.
        skip_bad_images: leave out files that cannot be decoded, instead of raising an error.

    Returns:
        The number of images in the stream.

    Raises:
        ValueError: the images cannot be read, or the stream cannot be written.
    """
    within("--workers", workers, 1, 1024)
    from ablations.training.watching import watched
    from convnext_path.data.folders import open_folders
    from convnext_path.data.stream import check_empty, drafted, write_apart

    there = str(out) if "://" in str(out) else str(find_folder(out))
    refuse_secrets("--out", there)
    place = make_absolute(str(root))
    check_places(Data("imagefolder", root=place), there, "--out")
    check_empty(there)
    with watched():
        folders = open_folders(Path(place), skip_bad_images, "full")
    with drafted(there) as draft:
        write_apart(folders, draft, workers)
    return sum(len(images.files) for images in folders.images)
