"""Where images lie and where results go: each has a place of its own, which is the same from whatever folder."""

import os
import unicodedata
from pathlib import Path

from ablations.hints import is_text
from convnext_path import files
from convnext_path.data.selection import Data
from convnext_path.frozen import show
from convnext_path.words import mask

LONGEST_NAME, LONGEST_PATH = 255, 4000  # bytes; the system takes 4095 with what is written inside


def find_folder(name: str | Path, option: str = "--out") -> Path:
    """A folder by the name that was typed: ``~`` is a home folder, and what a shell or a screen cannot show is refused.

    Raises:
        ValueError: it is no name of a folder; the message names the option.
    """
    text = str(name)
    if not text.strip() or not is_text(text) or any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError(f"{option} takes the name of a folder, got {text!r}")
    if "://" in text:
        raise ValueError(f"{option} takes a folder on this machine, got the address {mask(text)}")
    check_length(text, option)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{option} {text}: {error}") from None


def check_length(place: str, option: str) -> None:
    """Raise a ValueError where a place has a name that no file system takes."""
    name = os.fsencode(place)
    if len(name) > LONGEST_PATH or max(map(len, name.split(b"/"))) > LONGEST_NAME:
        allowed = f"a path of at most {LONGEST_PATH} bytes, {LONGEST_NAME} in each name"
        raise ValueError(f"{option} takes {allowed}, got {show(place)}")


def make_absolute(place: str, option: str = "--root") -> str:
    """A place as it is found from any folder: a link keeps its name, and a URL is one already.

    Raises:
        ValueError: a name that no file system takes; the message names the option.
    """
    if "://" in place:
        return place
    check_length(place, option)
    return files.make_absolute(place)


def check_places(data: Data, folder: str | Path, option: str = "--study") -> None:
    """Refuse a folder of ours among the images, and images inside it: what is written must not become input.

    Args:
        data: says where images lie, or where downloads go.
        folder: what is to be written.
        option: that names it.
    """
    if data.root is None or "://" in data.root or "://" in str(folder):
        return
    root, ours = (Path(os.path.realpath(os.path.expanduser(place))) for place in (data.root, folder))
    if root.is_relative_to(ours):
        raise ValueError(f"the images in {data.root} lie in {folder}, where results would go; choose another {option}")
    if data.is_tree and ours.is_relative_to(root):
        raise ValueError(f"{folder} would lie among the images in {data.root}; choose another {option}")
