"""What a trial's process needs, done once for all of them by the server that they are forked from."""

import atexit
import gc
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # fvcore, of torch.jit
    import fvcore.nn  # noqa: F401
    import sklearn.datasets
    import sklearn.model_selection  # noqa: F401

import ablations.engines.local  # noqa: F401
from ablations.training.memory import keep_freed_memory
from ablations.training.provenance import code_digest, environment
from convnext_path.kernels import build

code_digest()
environment()
build.load()
keep_freed_memory()
gc.freeze()  # what is imported stays: to look through it for garbage takes a fifth of a second each time
atexit.register(gc.unfreeze)
