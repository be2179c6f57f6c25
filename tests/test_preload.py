import subprocess
import sys


def test_the_server_has_done_what_each_trial_needs_and_starts_no_thread() -> None:
    """A fork has but one thread: locks that others hold would stay locked in it."""
    code = """
import sys, threading
import ablations.preload
from ablations.machine import code_digest, git_commit
assert {"fvcore.nn", "pytorch_lightning", "sklearn.datasets"} <= sys.modules.keys()
assert code_digest.cache_info().currsize == git_commit.cache_info().currsize == 1
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
