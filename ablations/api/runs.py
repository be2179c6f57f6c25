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
        raise ValueError(f"call ablations.run under {guard} trials are processes that import your script again")


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


@checked(Options.spell)
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


@checked()
def explain(step: str, ladder: str = "convnext-t", before: str | None = None) -> "Explanation":
    """What a step changes: the parts of the network before and after it, and what they cost at 224 x 224.

    A notebook shows it as a picture; ``print`` writes it as text, where a ``*`` marks a line that only one side has.

    Args:
        step: a rung's name.
        ladder: its ladder's.
        before: the rung to compare it with (default: the last adopted one before it).

    Raises:
        ValueError: an unknown ladder or rung.
    """
    from ablations.report.anatomy import explain

    return explain(ladder, step, before)


@checked(Options.spell)
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
        try:
            write_apart(folders, draft, workers)
        except RuntimeError as error:
            raise ValueError(str(error)) from None
    return sum(len(images.files) for images in folders.images)
