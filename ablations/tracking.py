"""Weights & Biases beside our own records: one run a trial, one summary run a study.

The records are the truth: whatever goes wrong here is said and costs no trial. wandb is imported only
when it is asked for.
"""

import logging
import netrc
import os
from collections.abc import Callable, Sequence
from functools import wraps
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Literal, get_args
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pandas as pd
from pytorch_lightning.loggers import Logger

from ablations.study import Study
from ablations.trial import Result, Trial

PROJECT = "convnext-path"
Mode = Literal["disabled", "offline", "online"]
MODES = get_args(Mode)

#: Seconds that W&B's server has to answer: at all, when a run starts, when a run ends.
ANSWER, START, FINISH = 3, 4, 4

log = logging.getLogger(__name__)


def forgiving(method: Callable[..., Any]) -> Callable[..., Any]:
    """Log an exception in place of raising it."""

    @wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a logger's failure of any kind must not end a training
            log.warning("W&B: %s failed, going on without: %s", method.__name__, error)
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
        return f"settings that cannot be used ({' '.join(str(error).split())})"
    if not has_key(settings):
        return f"no API key for {settings.base_url} (wandb login)"
    return None if answers(settings.base_url) else f"{settings.base_url} does not answer"


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


def make_logger(study: Study, trial: Trial, mode: Mode) -> Logger | None:
    """A logger for one trial: group = study, job type = rung, tags; None where W&B is disabled or fails."""
    return None if mode == "disabled" else _make_logger(study, trial, mode)


@forgiving
def _make_logger(study: Study, trial: Trial, mode: Mode) -> Logger:
    from pytorch_lightning.loggers import WandbLogger

    class ForgivingLogger(WandbLogger):
        log_metrics = forgiving(WandbLogger.log_metrics)
        log_hyperparams = forgiving(WandbLogger.log_hyperparams)
        finalize = forgiving(WandbLogger.finalize)

    return ForgivingLogger(experiment=_start(study, mode, f"{trial.rung}-seed{trial.seed}", trial.rung, trial))


def _start(study: Study, mode: Mode, name: str, job_type: str, trial: Trial | None = None) -> Any:
    import wandb

    config = None if trial is None else {"trial": trial.id, **trial.to_dict()}
    tags = [study.name] if trial is None else [trial.ladder, trial.rung, trial.data.name, f"seed{trial.seed}"]
    return wandb.init(
        project=PROJECT,
        group=study.name,
        job_type=job_type,
        name=name,
        tags=tags,
        config=config,
        dir=study.folder,
        mode=mode,
        reinit="finish_previous",
        settings=wandb.Settings(
            silent=True, console="off", x_disable_stats=True, init_timeout=START, finish_timeout=FINISH
        ),
    )


@forgiving
def finish_run(logger: Any, result: Result | None) -> None:
    """Close a trial's run, with its costs and accuracy in the summary; without a result it counts as failed."""
    run = logger.experiment
    if result is not None:
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
def log_summary(study: Study, summary: pd.DataFrame, charts: Sequence[Path], mode: Mode) -> None:
    """One more run for the whole study: its table and its charts."""
    if mode == "disabled":
        return
    import wandb

    run = _start(study, mode, f"{study.name}-summary", "summary")
    images = {f"charts/{file.stem}": wandb.Image(str(file)) for file in charts if file.suffix == ".png"}
    run.log({"results": wandb.Table(dataframe=summary), **images})
    run.finish()
