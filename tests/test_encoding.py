"""Files of text are UTF-8 whatever the machine's language is."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(file for package in ("ablations", "convnext_path") for file in (ROOT / package).rglob("*.py"))


def find_unsaid(source: str) -> list[int]:
    """The lines where text is read or written in the encoding of the machine's language."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and not any(word.arg == "encoding" for word in node.keywords):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            own = name in ("read_text", "write_text") and isinstance(node.func, ast.Attribute)  # of a path
            if own or (name in ("open", "fdopen", "NamedTemporaryFile") and is_text(node)):
                lines.append(node.lineno)
    return lines


def is_text(call: ast.Call) -> bool:
    """Whether a file is opened by its path, and not for bytes."""
    if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in (
        "Image",
        "tarfile",
        "os",
        "webbrowser",
    ):
        return False
    modes = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    return not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_encodings_are_said(file: Path) -> None:
    assert find_unsaid(file.read_text(encoding="utf-8")) == []


def test_what_is_found() -> None:
    for code in ("p.read_text()", "p.write_text(x)", "open(p)", "p.open()", "p.open('a')", "open(p, mode='r')"):
        assert find_unsaid(code) == [1], code
    for code in ("p.read_text(encoding='utf-8')", "open(p, 'rb')", "p.open(mode='wb')", "Image.open(p)"):
        assert find_unsaid(code) == [], code
