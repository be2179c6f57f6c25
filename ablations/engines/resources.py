"""Where trials run, and how many at a time, as options."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from ablations.fields import Options, option
from convnext_path.frozen import above, within
from convnext_path.words import refuse_secrets

ENGINES = ("local", "ray")


@dataclass(frozen=True, repr=False)
class EngineOptions(Options):
    """Where trials run: on this machine, or on a Ray cluster with its address and the CPUs and GPUs per trial.

    Raises:
        ValueError: unknown engine, number out of range, or an option that belongs to another engine.
    """

    prefix: ClassVar[str] = "engine."

    name: str = option(
        "local", f"where trials run: {' or '.join(ENGINES)}. --engine is short for it", ("--engine", ENGINES)
    )
    address: str | None = option(None, "address of a Ray cluster (default: start one on this machine)")
    cpus: float | None = option(
        None, "number of CPUs that Ray gives each trial (default: the trial's threads)", check=partial(above, limit=0)
    )
    gpus: float | None = option(
        None,
        "number of GPUs that Ray gives each trial; with 0.25, four trials share one (default: 1 per process, if any)",
        check=partial(above, limit=0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [self.spell(name) for name in ("address", "cpus", "gpus") if getattr(self, name) is not None]
        if self.name == "local" and given:
            raise ValueError(f"{given[0]} works only with --engine ray")
        refuse_secrets("--engine.address", self.address)


@dataclass(frozen=True)
class Resources(Options):
    """What trials have to run on. Raises a ValueError for a number out of range."""

    workers: int | Literal["auto"] = option(
        "auto",
        "trials at a time. auto: as many as the CPU cores allow, or 1 on a GPU",
        check=partial(within, low=1, high=1024),
    )
    loader_workers: int | None = option(
        None,
        "processes per trial that load images (default: depends on the number of cores)",
        check=partial(within, low=0, high=1024),
    )
    engine: EngineOptions = option(EngineOptions(), "where trials run")
