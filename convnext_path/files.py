"""Files that are there whole or not at all, and the cache of what can be made again."""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from convnext_path.trust import UntrustedError, check_folder, find_stranger, make_private

DRAFT = "."  # what a write that never ended left behind starts with it


def digest(content: bytes) -> str:
    """The SHA-256 of ``content``, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_whole(file: Path, content: bytes, durable: bool = True) -> None:
    """Write by way of a draft in the same folder, so that no kill leaves half a file. Raises an OSError.

    ``durable``: wait for the disk, so that a power cut after the call takes nothing either.
    """
    draft = file.with_name(f"{DRAFT}{file.name}.{os.getpid()}")
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OSError(error.errno, f"cannot write {file}: {error.strerror}") from None


def remove_drafts(folder: Path, name: str = "") -> None:
    """Clear what unfinished writes of ``name`` (or of any file) left in ``folder``."""
    for draft in folder.glob(f"{DRAFT}{name}*"):
        draft.unlink(missing_ok=True)


def cache_file(name: str) -> Path:
    """The place of something that can be made again; it need not be there. A RuntimeError where there is no home."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(chosen if os.path.isabs(chosen) else "~/.cache")  # a relative one is to be ignored, says XDG
    return root.expanduser() / "convnext-path" / name


def keep(file: Path, content: bytes) -> None:
    """Write a file of the cache, which nobody else can write.

    Raises:
        UntrustedError: others may write into its folder, or into one above.
        OSError: it cannot be written.
    """
    try:
        make_private(file.parent)
        check_folder(file.parent)
        with tempfile.TemporaryDirectory(prefix=DRAFT, dir=file.parent) as folder:
            draft = Path(folder) / file.name
            draft.write_bytes(content)
            draft.chmod(0o600)
            draft.replace(file)
    except UntrustedError:
        raise
    except OSError as error:
        raise OSError(error.errno, f"cannot write {file}: {error.strerror}") from None


def recall(name: str) -> Any:
    """What the cache holds in JSON under a name; None where there is nothing that can be read, or others may write."""
    try:
        file = cache_file(f"{name}.json")
        return json.loads(file.read_text()) if file.is_file() and not find_stranger(file) else None
    except (OSError, ValueError, RuntimeError):  # no such file, or damaged, or no home
        return None


def remember(name: str, content: Any) -> None:
    """Keep what JSON takes in the cache, whole or not at all; where that cannot be, it is made again next time."""
    with suppress(OSError, RuntimeError):
        keep(cache_file(f"{name}.json"), json.dumps(content).encode())
