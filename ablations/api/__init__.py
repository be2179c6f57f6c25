"""What the command line does, from Python; ``import ablations`` gives these names.

What cannot be had is a ValueError, in the words of the command line. torch, and what draws, is loaded when needed.
"""

from ablations.api.plans import compare as compare
from ablations.api.plans import plan as plan
from ablations.api.runs import costs as costs
from ablations.api.runs import explain as explain
from ablations.api.runs import foresee as foresee
from ablations.api.runs import prepare as prepare
from ablations.api.runs import run as run
from ablations.api.study import Study as Study
from ablations.api.study import open_study as open_study
from ablations.engines.resources import EngineOptions as EngineOptions
from ablations.study.trainer import TrainerOptions as TrainerOptions
