import subprocess
import sys


def test_the_server_has_done_what_each_trial_needs_and_starts_no_thread() -> None:
    """A fork has but one thread: locks that others hold would stay locked in it."""
    code = """
import gc, sys, threading
import wandb.apis.public  # first, as where it is asked for
import ablations.engines.forkserver
from ablations.training.provenance import code_digest, git_commit
assert {"fvcore.nn", "pytorch_lightning", "sklearn.datasets"} <= sys.modules.keys()
assert code_digest.cache_info().currsize == git_commit.cache_info().currsize == 1
assert threading.active_count() == 1
assert gc.get_freeze_count() > len(gc.get_objects())
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
