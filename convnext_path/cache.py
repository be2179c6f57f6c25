"""Files that took long to make and may be lost, kept between runs in the user's cache folder."""

import os
from pathlib import Path


def cache_file(name: str) -> Path:
    """The place of a file in the cache folder; it need not be there. A RuntimeError where there is no home."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "convnext-path" / name


def keep(file: Path, content: bytes) -> None:
    """Write a file of the cache, whole or not at all. Raises an OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_bytes(content)
    os.replace(draft, file)
