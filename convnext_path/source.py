"""Python code as what it says: two files that differ in comments, docstrings or layout alone are the same."""

import ast


def strip(source: str) -> str:
    """Python source without comments, docstrings and layout, written alike by every version of Python that reads it."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return _spell(tree)


def _spell(node: object) -> str:
    """As ``ast.dump``, without what is empty: newer versions of Python have more of that."""
    if isinstance(node, list):
        return f"[{', '.join(map(_spell, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = (f"{name}={_spell(value)}" for name, value in ast.iter_fields(node) if value not in (None, []))
    return f"{type(node).__name__}({', '.join(parts)})"
