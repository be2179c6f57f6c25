"""Records in files, each with a digest that one flipped bit contradicts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ablations.study.trial import Result, Trial, find_old_id, hash_json
from convnext_path.files import parse_json, read_regular
from convnext_path.frozen import Frozen

Record = TypeVar("Record", bound=Frozen)


def seal(record: Frozen) -> dict[str, Any]:
    """A record with its digest, which one flipped bit contradicts."""
    content = record.to_dict()
    return {"digest": hash_json(content), **content}


def name_as(record: Result, trial: Trial) -> Result:
    """A record under a trial's names: of ladder and rung, and of where its images and weights lie."""
    return replace(record, trial=replace(trial, threads=record.trial.threads))


def read_sealed(file: Path) -> dict[str, Any]:
    """A record's content that has kept its digest.

    Raises:
        OSError: it cannot be read, or is no file.
        ValueError: it is damaged.
    """
    try:
        content: dict[str, Any] = parse_json(read_regular(file))
        found = content.pop("digest")
        kept = hash_json(content)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise ValueError("is not a record") from None
    if found != kept:
        raise ValueError("does not match its digest")
    return content


def unseal(file: Path, kind: type[Record]) -> Record:
    """A record that has kept its digest. Raises a ValueError where it is damaged, an OSError where it is not read."""
    return kind.from_dict(read_sealed(file))


def try_unseal(file: Path, kind: type[Record]) -> Record | str:
    """A record, or what is wrong with it, whatever lies there."""
    try:
        content = read_sealed(file)
        record = kind.from_dict(content)
        own = not isinstance(record, Result) or file.stem in (record.trial.id, find_old_id(content["trial"]))
        return record if own else "is the record of another trial"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, TypeError) as error:
        return str(error)


def dump(content: Any) -> bytes:
    """JSON as it is written."""
    return (json.dumps(content, indent=1) + "\n").encode()
