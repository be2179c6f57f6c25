"""Weights & Biases beside our own records: one run a trial, one summary run a study.

The records are the truth: whatever goes wrong here is said and costs no trial. A run's id follows from what it shows,
so that sent again it replaces itself. wandb is imported only when it is asked for.
"""

import logging
import netrc
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from ablations.study.folder import StudyFolder
from ablations.study.keeping import Mode
from ablations.study.trial import Epoch, Result, Trial, hash_json
from convnext_path.words import mask, show_name

if TYPE_CHECKING:
    import pandas as pd

PROJECT = "convnext-path"

#: Seconds that W&B's server has: to answer at all, to start a run, to take the last of a trial's run while others wait,
#: and to take all of one when nothing waits.
ANSWER, START, FINISH, SEND = 3, 4, 4, 300

TAG = 64  # characters that W&B takes of a tag

log = logging.getLogger(__name__)


def forgiving(method: Callable[..., Any]) -> Callable[..., Any]:
    """Log an exception in place of raising it, and return None."""

    @wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a logger's failure of any kind must not end a training
            log.warning("W&B: %s failed; training continues without it: %s", method.__name__, mask(str(error)))
            return None

    return wrapper


def choose_mode(mode: Mode) -> Mode:
    """The mode asked for; offline in place of online where each trial would wait for W&B in vain."""
    why = find_obstacle() if mode == "online" else None
    if why is None:
        return mode
    log.warning("W&B: %s; logging offline, send later with wandb sync", why)
    return "offline"


def find_obstacle() -> str | None:
    """Why nothing could be sent to W&B now; None where it seems that it could."""
    import wandb

    try:
        settings = wandb.setup().settings
    except Exception as error:  # noqa: BLE001 - a logger's failure of any kind must not end a training
        return f"settings that cannot be used ({mask(' '.join(str(error).split()))})"
    if not has_key(settings):
        return f"no API key for {mask(settings.base_url)} (wandb login)"
    return None if answers(settings.base_url) else f"{mask(settings.base_url)} does not answer"


def has_key(settings: Any) -> bool:
    """Whether W&B would find credentials: in its settings, which hold the environment's, or in a .netrc file."""
    if settings.api_key or settings.identity_token_file:
        return True
    try:
        file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
        return netrc.netrc(file).authenticators(urlsplit(settings.base_url).netloc) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def answers(url: str) -> bool:
    """Whether any HTTP response comes in time. In a thread, for looking up a name heeds no timeout."""
    answer = SimpleQueue[bool]()
    Thread(target=lambda: answer.put(ask(url)), daemon=True).start()
    try:
        return answer.get(timeout=ANSWER)
    except Empty:
        return False


def ask(url: str) -> bool:
    try:
        urlopen(url, timeout=ANSWER).close()
    except HTTPError as error:  # a response too
        error.close()
    except (OSError, HTTPException):
        return False
    return True


def start_run(study: StudyFolder, trial: Trial, mode: Mode, patience: float = FINISH) -> Any:
    """A run for one trial: group = study, job type = rung, each flag a field; None where W&B is disabled."""
    if mode == "disabled":
        return None
    terms = trial.to_dict()
    config = {"trial": trial.id, **terms.pop("flags"), **terms}
    tags = [trial.ladder, trial.rung, trial.data.name, f"seed{trial.seed}"]
    run = _start(study, mode, f"{trial.rung}-seed{trial.seed}", trial.rung, tags, config, patience)
    run.define_metric("epoch", hidden=True)
    run.define_metric("images", hidden=True)
    for name, axis, best in METRICS:
        run.define_metric(name, step_metric=axis, summary=best)
    return run


#: What is logged of an epoch, over what, and the extreme that the summary keeps beside the last value.
METRICS = (
    ("train/loss", "images", "min,last"),
    ("lr", "images", "max,last"),
    ("val/loss", "epoch", "min,last"),
    ("val/top1", "epoch", "max,last"),
    ("val/top5", "epoch", "max,last"),
)


def _start(
    study: StudyFolder,
    mode: Mode,
    name: str,
    job_type: str,
    tags: Sequence[str],
    config: Mapping[str, Any],
    patience: float,
) -> Any:
    """A run of W&B's, in place of the one with the same name, study and trial."""
    import wandb

    config = {"study": study.name, **config}
    identity = hash_json({"name": name, "study": study.name, "trial": config.get("trial")})[:16]
    for before in (study.folder / "wandb").glob(f"offline-run-*-{identity}"):
        shutil.rmtree(before)
    return wandb.init(
        id=identity,
        project=PROJECT,
        group=show_name(study.name),
        job_type=show_name(job_type),
        name=show_name(name),
        tags=[show_name(tag)[:TAG] for tag in tags if tag],
        config=show_names(config),
        dir=study.folder,
        mode=mode,
        reinit="finish_previous",
        settings=wandb.Settings(
            silent=True,
            console="off",
            x_disable_stats=True,
            init_timeout=START,
            finish_timeout=patience,
            finish_timeout_raises=True,
        ),
    )


def show_names(content: Any) -> Any:
    """The same content with all that is written in it as text: W&B refuses what is not."""
    if isinstance(content, Mapping):
        return {show_names(name): show_names(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [show_names(value) for value in content]
    return show_name(content) if isinstance(content, str) else content


def log_epoch(run: Any, epoch: Epoch) -> None:
    """A point of a run's curves."""
    if run is None:
        return
    values = {"val/loss": epoch.val_loss, "val/top1": epoch.top1, "val/top5": epoch.top5}
    known = {name: value for name, value in values.items() if value is not None}
    run.log(
        {"epoch": epoch.epoch, "images": epoch.images, "lr": epoch.lr, "train/loss": epoch.train_loss, **known},
        step=epoch.epoch,
    )


def finish_run(run: Any, result: Result | None) -> None:
    """Close a trial's run, with its costs and accuracy in the summary; without a result it counts as failed."""
    if run is None:
        return
    if result is not None:
        log_epoch(run, result.curve[-1])  # it may have been validated after its end
        run.summary.update(
            {
                "top1": result.top1,
                "top5": result.top5,
                "macs": result.cost.paper_macs,
                "params": result.cost.params,
                "activations": result.cost.activations,
                "seconds": result.seconds,
                "images_per_second": result.images_per_second,
                "peak_memory": result.peak_memory,
            }
        )
    run.finish(exit_code=0 if result is not None else 1)


@forgiving
def send_result(study: StudyFolder, result: Result, mode: Mode, patience: float = SEND) -> bool:
    """A trial's run, from its record; true where W&B has taken it."""
    run = start_run(study, result.trial, mode, patience)
    for epoch in result.curve:
        log_epoch(run, epoch)
    finish_run(run, result)
    return True


@forgiving
def send_summary(study: StudyFolder, summary: "pd.DataFrame", files: Sequence[Path], mode: Mode) -> bool:
    """One more run for the whole study: its table, its charts, each step's figures, and all files as an artifact.

    True where W&B has taken it, or was not asked.
    """
    if mode == "disabled":
        return True
    import wandb

    plan = study.plan()
    terms = {name: value for name, value in plan.to_dict().items() if name not in ("rungs", "seeds")}
    tags = [plan.ladder, plan.data.name]
    run = _start(study, mode, f"{study.name}-summary", "summary", tags, terms, SEND)
    images = {f"charts/{file.stem}": wandb.Image(str(file)) for file in files if file.suffix == ".png"}
    table = summary.assign(study=show_name(study.name), ladder=plan.ladder, data=plan.data.name)
    run.log({"results": wandb.Table(dataframe=table), **images})
    for measure in ("top1", "change"):
        run.summary.update({f"{measure}/{row.rung}": getattr(row, measure) for row in summary.itertuples()})
    name = re.sub(r"[^-\w.]", "-", study.name)[:100]  # W&B takes 128 characters in all
    artifact = wandb.Artifact(f"{name}-results", type="results")
    for file in (study.plan_file, *files):
        artifact.add_file(str(file))
    run.log_artifact(artifact)
    run.finish()
    return True
