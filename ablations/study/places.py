"""Where images lie and where results go: each has a place of its own, which is the same from whatever folder."""

import os
from pathlib import Path

from convnext_path.data.selection import Data


def make_absolute(place: str) -> str:
    """A place as it is found from any folder: a link keeps its name, and a URL is one already."""
    return place if "://" in place else os.path.abspath(os.path.expanduser(place))


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
