"""What the command line does, from Python; ``import ablations`` gives these names.

What cannot be had is a ValueError, in the words of the command line. torch, and what draws, is loaded when needed.
"""

from ablations.api.plans import compare, plan
from ablations.api.runs import costs, explain, foresee, prepare, run
from ablations.api.study import Study, open_study
from ablations.engines.resources import EngineOptions
from ablations.study.trainer import TrainerOptions

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
