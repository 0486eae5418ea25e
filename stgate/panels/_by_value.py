"""Equality of dataclasses that hold arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


class ByValue:
    """Base of dataclasses (with `eq=False`) that are equal if all their fields are, arrays entry by entry.

    Like arrays, they cannot be hashed.
    """

    __hash__ = None  # type: ignore[assignment] # what can be compared by value, and hold arrays, has no hash

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401 (any field)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(type(one) is type(other) and one == other)
