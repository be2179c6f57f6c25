from convnext_path.files import digest
from convnext_path.source import strip


def test_comments_docstrings_and_layout_are_not_code() -> None:
    plain = "def f(x):\n    return x + 1\n"
    dressed = '"""Of f."""\n\n\ndef f(\n    x,\n):  # adds\n    """Add one."""\n    return x+1\n'
    assert strip(plain) == strip(dressed)
    assert strip(plain) != strip(plain.replace("1", "2"))


def test_versions_of_python_spell_code_alike() -> None:
    """As 3.11, 3.12 and 3.13 do."""
    code = """
class A(C):
    d: str = f"{e!r} {'g'}\\n" "h"
    def f(self, x=None, *y): return [x for x in y if x is not None] or {"a": 1.5, **self}
"""
    assert digest(strip(code).encode())[:16] == "126d6c09cd785e1a"
