"""Where images lie and where results go: each has a place of its own, which is the same from whatever folder."""

import os
import unicodedata
from pathlib import Path

from convnext_path import files
from convnext_path.data.selection import Data


def find_folder(name: str | Path, option: str = "--out") -> Path:
    """A folder by the name that was typed: ``~`` is a home folder, and what a shell or a screen cannot show is refused.

    Raises:
        ValueError: it is no name of a folder; the message names the option.
    """
    text = str(name)
    if not text.strip() or any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError(f"{option} takes a folder's name, got {text!r}")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{option} {text}: {error}") from None


def make_absolute(place: str) -> str:
    """A place as it is found from any folder: a link keeps its name, and a URL is one already."""
    return place if "://" in place else files.make_absolute(place)


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
        raise ValueError(f"the images in {data.root} lie in {folder}, where results would go; {option} takes another")
    if data.is_tree and ours.is_relative_to(root):
        raise ValueError(f"{folder} would lie among the images in {data.root}; {option} takes a folder elsewhere")
