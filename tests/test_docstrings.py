import ast
import re
from pathlib import Path

import pytest

import stgate

SOURCES = Path(stgate.__file__).parent
ROOMS = ("errors.py", "metrics", "calibration", "distributions", "simulate", "nn")
LATER = {"nn/sepnet/mixing.py", "nn/sepnet/spatial.py", "nn/gated/network.py"}
OPENING = re.compile(r"(Of|As|By|What|Whether|Which|How|See|Where)\b")
FILES = [
    path
    for room in ROOMS
    for path in ([SOURCES / room] if room.endswith(".py") else sorted((SOURCES / room).rglob("*.py")))
    if path.relative_to(SOURCES).as_posix() not in LATER
]


def documented(path: Path) -> list[tuple[ast.AST, str]]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    return [(node, text) for node in nodes if isinstance(node, kinds) and (text := ast.get_docstring(node))]


def listed(text: str) -> list[str] | None:
    """Names in the Args section; None where there is none."""
    found = re.search(r"^Args:\n((?:    .*\n|\n)*)", text + "\n", re.MULTILINE)
    return None if found is None else re.findall(r"^    (\*{0,2}\w+):", found[1], re.MULTILINE)


def signature(function: ast.FunctionDef) -> list[str]:
    given = function.args
    names = [argument.arg for argument in given.posonlyargs + given.args]
    names += [f"*{given.vararg.arg}"] if given.vararg else []
    names += [argument.arg for argument in given.kwonlyargs]
    names += [f"**{given.kwarg.arg}"] if given.kwarg else []
    return [name for name in names if name not in ("self", "cls")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCES).as_posix())
def test_a_docstring_opens_with_a_noun_or_a_verb_and_lists_the_arguments_of_its_signature(path):
    for node, text in documented(path):
        assert not OPENING.match(text), text
        makers = [m for m in getattr(node, "body", []) if isinstance(m, ast.FunctionDef) and m.name == "__init__"]
        for function in [node] if isinstance(node, ast.FunctionDef) else makers:
            if listed(text) is not None:
                assert listed(text) == signature(function), text
