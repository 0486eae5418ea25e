"""Docstrings are for readers: plain first lines, and arguments that are those of the signature."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

OPENINGS = ("Of", "As", "By", "What", "Whether", "Which", "How", "See")
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "References")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Documented(NamedTuple):
    """A module, class, function or method with its docstring."""

    place: str
    node: ast.Module | ast.ClassDef | Function
    text: str
    in_class: bool


def walk(body: ast.Module | ast.ClassDef, path: str, name: str) -> Iterator[Documented]:
    """Yield what is public in a module or class, itself included; not what is nested in functions."""
    if text := ast.get_docstring(body):
        yield Documented(f"{path}:{getattr(body, 'lineno', 1)} {name}", body, text, False)
    for node in body.body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        inner = node.name if isinstance(body, ast.Module) else f"{name}.{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from walk(node, path, inner)
        elif text := ast.get_docstring(node):
            yield Documented(f"{path}:{node.lineno} {inner}", node, text, isinstance(body, ast.ClassDef))


def documented() -> list[Documented]:
    """Read all modules, the private ones too: public verbs live in some of them, under `stgate`."""
    found: list[Documented] = []
    for file in sorted((ROOT / "stgate").rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        found += walk(ast.parse(file.read_text(encoding="utf-8")), path, "module")
    return found


def sections(text: str) -> dict[str, list[str]]:
    """Return the names in each section of a Google-style docstring; a section without entries is an empty list."""
    found: dict[str, list[str]] = {}
    current = None
    for line in text.splitlines():
        if heading := re.fullmatch(r"([A-Z]\w+):", line):
            current = found.setdefault(heading[1], []) if heading[1] in SECTIONS else None
        elif line and not line.startswith(" "):
            current = None
        elif current is not None and (entry := re.match(r" {4}(\*{0,2}\w+)(?: \([^)]*\))?:", line)):
            current.append(entry[1].lstrip("*"))
    return found


def signature(node: Function, *, bound: bool) -> list[str]:
    """Return the names of a function's arguments, in order, without `self` or `cls`."""
    given = node.args
    names = [a.arg for a in (*given.posonlyargs, *given.args)]
    decorators = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
    names = names[1:] if bound and "staticmethod" not in decorators else names
    names += [given.vararg.arg] if given.vararg else []
    names += [a.arg for a in given.kwonlyargs]
    return names + ([given.kwarg.arg] if given.kwarg else [])


def wanted(item: Documented) -> list[str] | None:
    """Return the arguments that a docstring is to name; None where the code here does not show them."""
    if isinstance(item.node, Function):
        return signature(item.node, bound=item.in_class)
    if isinstance(item.node, ast.Module):
        return []
    made = next((n for n in item.node.body if isinstance(n, Function) and n.name == "__init__"), None)
    if made is not None:
        return signature(made, bound=True)
    decorators = [d.func if isinstance(d, ast.Call) else d for d in item.node.decorator_list]
    if not any(ast.unparse(d).endswith("dataclass") for d in decorators) or item.node.bases:
        return None
    names = [n.target.id for n in item.node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def complain(found: list[str], what: str) -> None:
    if found:
        pytest.fail(f"{len(found)} {what}:\n  " + "\n  ".join(found), pytrace=False)


def test_there_are_docstrings_to_read():
    assert len(documented()) > 100
    text = "Fit.\n\nArgs:\n    a: One.\n        And more: of it.\n    **b: Others.\n\nRaises:\n    ValueError: Never.\n"
    assert sections(text) == {"Args": ["a", "b"], "Raises": ["ValueError"]}


def test_no_public_docstring_opens_with_a_question_or_a_preposition():
    pattern = re.compile(rf"({'|'.join(OPENINGS)})\b")
    odd = [f"{item.place}: {item.text.splitlines()[0]}" for item in documented() if pattern.match(item.text)]
    complain(odd, "docstrings open with one of " + ", ".join(OPENINGS))


def test_the_arguments_of_a_docstring_are_those_of_its_signature():
    odd = []
    for item in documented():
        have, names = sections(item.text), wanted(item)
        if names is None:
            continue
        if "Args" in have or (isinstance(item.node, ast.ClassDef) and "Attributes" in have):
            listed = have.get("Args", have.get("Attributes", []))
            if listed != names:
                lacking, unknown = sorted(set(names) - set(listed)), sorted(set(listed) - set(names))
                differs = f"lacks {lacking}, has unknown {unknown}" if lacking or unknown else "other order"
                odd.append(f"{item.place}: {differs}")
        elif names and isinstance(item.node, Function) and have.keys() & {"Returns", "Yields", "Raises"}:
            odd.append(f"{item.place}: has sections but none of Args; it takes {', '.join(names)}")
    complain(odd, "docstrings whose arguments are not those of their signature")
