"""What may lie where a file is to be, and is no file of ours."""

import os
import socket
from contextlib import chdir
from pathlib import Path

from convnext_path.files import LARGEST

#: And what an OSError says of it.
ODDITIES = {
    "folder": "it is a folder",
    "pipe": "it is a pipe",
    "socket": "it is a socket",
    "link to nothing": "No such file",
    "link to itself": "Too many levels",
    "endless device": "it is a device",
    "empty device": "it is a device",
    "too large": "it has more than",
}

#: Regular files, by what the system says of them, that have no end or are waited for.
ENDLESS = ("/proc/kmsg", "/proc/kcore", "/proc/self/pagemap", "/proc/self/mem")


def place(file: Path, kind: str) -> None:
    """Let one of :data:`ODDITIES` lie at ``file``."""
    match kind:
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "socket":
            with socket.socket(socket.AF_UNIX) as made, chdir(file.parent):  # such names are short
                made.bind(file.name)
        case "link to nothing":
            file.symlink_to("nowhere")
        case "link to itself":
            file.symlink_to(file.name)
        case "endless device" | "empty device":
            file.symlink_to("/dev/zero" if kind == "endless device" else "/dev/null")
        case "too large":
            file.touch()
            os.truncate(file, LARGEST + 1)
