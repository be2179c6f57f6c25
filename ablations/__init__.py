"""Plan, train and read studies from Python, as on the command line.

Example::

    plan = ablations.plan(ladder="convnext-nano", data="digits", seeds=3)
    study = ablations.run(plan, "results/mine")
    study.table()
    study.chart("accuracy")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ablations.api import (
        EngineOptions,
        Study,
        TrainerOptions,
        compare,
        costs,
        explain,
        foresee,
        open_study,
        plan,
        prepare,
        run,
    )

__all__ = [
    "EngineOptions",
    "Study",
    "TrainerOptions",
    "compare",
    "costs",
    "explain",
    "foresee",
    "open_study",
    "plan",
    "prepare",
    "run",
]


if not TYPE_CHECKING:  # where it would allow any name

    def __getattr__(name: str) -> object:
        """A name of :mod:`ablations.api`, which is imported when the first one is asked for (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from ablations import api

        return getattr(api, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
