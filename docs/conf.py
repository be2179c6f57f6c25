"""How Sphinx builds these pages: make docs."""

import inspect
import os
import re
import sys
from importlib.metadata import version as find_version
from typing import Any

import ablations
import convnext_path

os.environ["COLUMNS"] = "100"
project, author = "The road from ResNet to ConvNeXt", "the authors of this repository"
copyright = "MIT license"
version = release = find_version("convnext-path")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme, html_title = "furo", project
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_typehints, autodoc_member_order = "signature", "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False  # Lightning's are not ours
python_use_unqualified_type_names = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False

#: Names of other packages, and of our own that are no part of the public interface, have no page here.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!ablations\.|convnext_path\.).*"),
    (r"py:.*", r"(ablations|convnext_path)\.\w+\..*"),
]


def list_public() -> dict[str, list[str]]:
    """The public names of each package."""
    return {package.__name__: list(package.__all__) for package in (ablations, convnext_path)}


def name_files(app: Any, page: str, source: list[str]) -> None:
    """Links out of docs/, which lead somewhere in a clone, name the file on a page."""
    source[0] = re.sub(r"(?<!!)\[([^\]]+)\]\(\.\./([^)#]+)(?:#[^)]*)?\)", r"\1 (`\2`)", source[0])


def setup(app: Any) -> None:
    """Refuse a public name without a docstring: the reference would say nothing of it."""
    app.connect("source-read", name_files)
    for package, names in list_public().items():
        for name in names:
            value = getattr(sys.modules[package], name)
            if callable(value) and not inspect.getdoc(value):
                raise ValueError(f"{package}.{name} has no docstring")
