"""Names of the variables in a panel's file, read without numpy: a request for others is refused before torch is there.

A file of which it is not sure that readers find the same names in it, such as a lattice, has none here.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stgate.io.paths import check_panel_path
from stgate.io.safe.probe import names_in
from stgate.schema.words import no_variable

LARGEST = 10**6
"""Most bytes of a description, or of the first line of a table."""
AXES = {"time", "node"}


def check_variables(path: str | os.PathLike[str], wanted: Iterable[str]) -> None:
    """Refuse a panel that lacks variables, or that is not there.

    Args:
        path: The panel's file.
        wanted: Names of variables over time.

    Raises:
        StoreError: There is no such file, or it is broken.
        PanelError: The panel lacks a variable.
    """
    check_panel_path(path)
    have = variables_of(Path(path))
    for name in wanted if have is not None else ():
        if have is not None and name not in have[1]:
            raise no_variable(name, have[0])


def variables_of(path: Path) -> tuple[list[str], set[str]] | None:
    """Return the names of a panel's variables, and of those and its coordinates; None if they are not certain.

    Args:
        path: The panel's file.

    Raises:
        StoreError: The file is broken.
    """
    try:
        if path.suffix == ".zarr":
            held = _of_zarr(path)
        elif path.suffix in (".csv", ".txt"):
            held = _of_table(path)
        else:
            held = names_in(path) if path.suffix == ".nc" else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # its reader says what it is
        return None
    if held is None or not set(held["dims"]) >= AXES or not set(held["variables"]) >= AXES:
        return None
    names = set(held["variables"])
    return sorted(names - set(held["dims"]) - set(held["coordinates"])), names


def _of_table(path: Path) -> dict[str, list[str]] | None:
    """Return the columns of a long table by its first line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader([file.readline(LARGEST)]), [])
    plain = len(set(names)) == len(names) and all(name.strip() == name != "" for name in names)
    return {"variables": names, "dims": list(AXES), "coordinates": []} if plain else None


def _of_zarr(path: Path) -> dict[str, list[str]] | None:
    """Return the names of a store of zarr's format 3 by the descriptions of its arrays."""
    coordinates, dims, variables = _words(_described(path)), [], []
    for folder in sorted(path.iterdir()):
        if not (folder / "zarr.json").is_file():
            continue
        held = _described(folder)
        if held["node_type"] != "array":
            return None
        variables.append(folder.name)
        dims += held["dimension_names"]
        coordinates += _words(held)
    return {"variables": variables, "dims": dims, "coordinates": coordinates}


def _described(folder: Path) -> dict[str, Any]:
    """Return the description of a store or an array."""
    with (folder / "zarr.json").open(encoding="utf-8") as file:
        held: dict[str, Any] = json.loads(file.read(LARGEST))
    return held


def _words(held: dict[str, Any]) -> list[str]:
    """Return the names of the coordinates in a description."""
    return str(held.get("attributes", {}).get("coordinates", "")).split()
