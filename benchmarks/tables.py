"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def row(cells: Iterable[object]) -> str:
    """Return a line of a table."""
    return "".join(f"| {cell} " if str(cell) else "| " for cell in cells) + "|"


def table(header: Iterable[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return the lines of a table."""
    header = list(header)
    return [row(header), "|" + "---|" * len(header), *map(row, rows)]
