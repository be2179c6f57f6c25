"""The origin that a training here and now would have, without torch where it was found before."""

import os
import shutil
from pathlib import Path
from typing import Any

from ablations.console import say
from ablations.study.origin import Origin
from ablations.study.trial import Plan, hash_json
from ablations.training.provenance import instructions, list_versions, math_settings, processor_name
from convnext_path.files import recall, remember


def find_origin(plan: Plan) -> Origin:
    """What trials of a plan would have; where their images are not there, that of all else, and it is said."""
    if plan.data.name != "digits":  # which come with a package; other images may have changed
        return look(plan)
    key, name = make_key(plan), f"origin-{hash_json(plan.identity)[:16]}"
    known = read_known(recall(name), key)
    if known is None:
        known = look(plan)
        if "not built" not in str(dict(known.rounding).get("kernels")):  # a compiler that hung may answer next time
            remember(name, {"key": key, "origin": known.to_dict()})
    return known


def look(plan: Plan) -> Origin:
    from torch import device

    from ablations.training.checks import check_plan
    from ablations.training.provenance import origin
    from ablations.training.trainer import find_device

    try:
        return check_plan(plan)
    except ValueError as error:
        say(f"warning: {error}; records are compared by everything except their images")
    try:
        place = find_device(plan.trials()[0])
    except Exception:  # noqa: BLE001 - it has trained elsewhere: Lightning refuses in many ways what is not here
        place = device("cpu")
    return origin(place, "unknown", plan.threads)


def read_known(found: Any, key: str) -> Origin | None:
    """What was found before, if all that it hangs on is as it was."""
    try:
        return Origin.from_dict(found["origin"]) if found["key"] == key else None
    except (ValueError, TypeError, KeyError):  # nothing, or something else
        return None


def make_key(plan: Plan) -> str:
    """A hash of all that an origin hangs on, as far as it is seen without torch."""
    chosen = {name: os.environ.get(name) for name in ("CXX", "CONVNEXT_PATH_KERNELS", "CUDA_VISIBLE_DEVICES")}
    compilers = [stamp(shutil.which(name)) for name in ("c++", "g++", "clang++")]
    gpus = sorted(path.name for path in Path("/dev").glob("nvidia*"))
    processor = processor_name(), instructions(), math_settings()
    return hash_json({"plan": plan.identity, "facts": [chosen, compilers, gpus, processor, list_versions()]})


def stamp(program: str | None) -> object:
    """A program's place and the time of its last change."""
    return program and (program, os.stat(program).st_mtime_ns)
