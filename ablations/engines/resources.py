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
    """An engine, and of a Ray cluster where it is and what a trial takes of it.

    Raises:
        ValueError: no such engine, a number out of range, or an option that is another engine's.
    """

    prefix: ClassVar[str] = "engine."

    name: str = option(
        "local", f"where trials run: {' or '.join(ENGINES)}; --engine is short for it", ("--engine", ENGINES)
    )
    address: str | None = option(None, "address of a Ray cluster (default: one of its own on this machine)")
    cpus: float | None = option(None, "Ray's CPUs per trial (default: its threads)", check=partial(above, limit=0))
    gpus: float | None = option(
        None,
        "Ray's GPUs per trial; 0.25: four trials share one (default: 1 per process, where there are any)",
        check=partial(above, limit=0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [self.spell(name) for name in ("address", "cpus", "gpus") if getattr(self, name) is not None]
        if self.name == "local" and given:
            raise ValueError(f"{given[0]} is --engine ray's")
        refuse_secrets("--engine.address", self.address)


@dataclass(frozen=True)
class Resources(Options):
    """What trials have to run on. Raises a ValueError for a number out of range."""

    workers: int | Literal["auto"] = option(
        "auto",
        "trials at a time; auto: as many as the cores hold, or 1 on a GPU",
        check=partial(within, low=1, high=1024),
    )
    loader_workers: int | None = option(
        None,
        "processes per trial that read images (default: by the number of cores)",
        check=partial(within, low=0, high=1024),
    )
    engine: EngineOptions = option(EngineOptions(), "where trials run")
