"""YAML files of anybody: plain values only, bounded in size, depth and expansion, and errors in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from stgate.errors import StoreError
from stgate.io.safe.reading import exists

LARGEST = 2**18
"""Most bytes of a file; ours have a few thousand."""
DEEPEST = 50
"""Most levels of lists and mappings within each other."""
MOST = 20_000
"""Most entries, those of an alias counted each time that it stands for them."""


class _Loader(yaml.SafeLoader):
    """Loader that refuses what is nested too deeply or expands to too many entries, before any value is made."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 (yaml's)
        """Compose a node, unless it is nested too deeply."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"more than {DEEPEST} levels", problem_mark=self.get_mark())
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document, unless its aliases expand to too many entries or to themselves."""
        node = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of entries that a node expands to.

    Args:
        node: The node.
        known: Numbers of the nodes counted so far by their identity; 0 for those that are being counted.

    Raises:
        MarkedYAMLError: There are too many, or the node holds itself.
    """
    number = id(node)
    if known.get(number) == 0:
        raise yaml.MarkedYAMLError(problem="an alias that holds itself", problem_mark=node.start_mark)
    if number not in known:
        known[number] = 0
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        elif isinstance(node, yaml.ScalarNode):
            _check_number(node)
        inside = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for item in inside for part in (item if isinstance(item, tuple) else [item])]
        known[number] = 1 + sum(_count(part, known) for part in parts)
    if known[number] > MOST:
        raise yaml.MarkedYAMLError(problem=f"aliases that expand to over {MOST} entries", problem_mark=node.start_mark)
    return known[number]


def _check_number(node: yaml.ScalarNode) -> None:
    """Refuse a number that YAML 1.1 reads in another base than it seems to be: 014 is 12, and 1:30 is 90."""
    if node.tag == "tag:yaml.org,2002:int" and re.match(r"[-+]?(0[\d_]+$|.*:)", node.value):
        raise yaml.MarkedYAMLError(
            problem=f"YAML reads {node.value} in another base; write it in decimal, or in quotes",
            problem_mark=node.start_mark,
        )


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse a key that is given twice, of which YAML would take the last without a word."""
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)


def read_yaml(path: Path) -> Any:  # noqa: ANN401 (whatever YAML holds)
    """Read a YAML file that anybody may have written.

    Args:
        path: The file.

    Returns:
        Plain values, lists and mappings; None for an empty file.

    Raises:
        StoreError: The file cannot be read, is too large, or is not YAML of plain values; the message names the line.
    """
    if not exists(path):
        raise StoreError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error
    return parse_yaml(content, str(path))


def parse_yaml(content: bytes | str, name: str) -> Any:  # noqa: ANN401 (whatever YAML holds)
    """Parse YAML that anybody may have written.

    Args:
        content: The text.
        name: Where it is from, for messages.

    Returns:
        Plain values, lists and mappings; None for an empty text.

    Raises:
        StoreError: The text is too long, or is not YAML of plain values; the message names the line.
    """
    if len(content) > LARGEST:
        raise StoreError(f"{name}: not valid YAML (more than {LARGEST:,} bytes); shorten it")
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        return yaml.load(text, _Loader)
    except Exception as error:  # whatever the constructors of tagged values raise
        raise StoreError(f"{name}: not valid YAML ({_reason(error)}); correct it") from error


def _reason(error: Exception) -> str:
    """Return the line and what is wrong with it."""
    mark, why = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if why is None:
        text = isinstance(error, UnicodeDecodeError | yaml.reader.ReaderError)
        why = "not text" if text else next(iter(str(error).splitlines()), type(error).__name__)
    why = " ".join(str(why).split())[:120]
    return why if mark is None else f"line {mark.line + 1}: {why}"
