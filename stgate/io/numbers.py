"""Numbers of csv tables that are written as text: with another decimal mark, or with marks between thousands."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from stgate.errors import PanelError

BLANKS = " \u00a0\u202f\u2009"
"""Blanks that may stand between thousands; each of them stands for all."""
NUMERIC = rf"[+-]?[\d.,'’_{BLANKS}]*\d[\d.,'’_{BLANKS}]*"
"""Pattern of texts that are numbers in some way of writing them."""


def as_numbers(series: pd.Series, name: str, label: str, decimal: str, thousands: str | None) -> pd.Series:
    """Turn the texts of a column into numbers; other texts stay as they are, and are refused later.

    Args:
        series: A column of a table.
        name: The column's name.
        label: The table's name.
        decimal: Decimal mark.
        thousands: Mark between groups of three digits; None if there is none.

    Raises:
        PanelError: A text is a number in another way of writing than the one that is given.
    """
    if not (pd.api.types.is_object_dtype(series) or pd.api.types.is_string_dtype(series)):
        return series
    texts = series.where(series.map(lambda x: isinstance(x, str))).astype("string").str.strip()
    numbers = numbers_of(texts, decimal, thousands)
    doubtful = texts.notna() & numbers.isna() & texts.str.fullmatch(NUMERIC).fillna(False)
    if doubtful.any():
        row = int(np.argmax(doubtful))
        raise PanelError(
            f"{label}: column {name!r} holds {series.iloc[row]!r} in row {row + 1}, not a number with the decimal "
            f"mark {decimal!r}{f' and {thousands!r} between thousands' if thousands else ''}; give --decimal, or the "
            "mark between thousands as --thousands"
        )
    return series.where(numbers.isna(), numbers) if numbers.isna().any() else numbers


def numbers_of(texts: pd.Series, decimal: str = ".", thousands: str | None = None) -> pd.Series:
    """Parse texts as numbers; NaN where a text is none.

    Args:
        texts: Texts.
        decimal: Decimal mark.
        thousands: Mark between groups of three digits; None if there is none.

    >>> numbers_of(pd.Series(["1.234,5", "0,5", "1.23"]), ",", ".").tolist()
    [1234.5, 0.5, nan]
    """
    point = re.escape(decimal)
    pattern = rf"[+-]?(?:\d+(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?"
    plain = texts.astype("string").str.strip().str.replace("\u2212", "-")  # the sign of minus
    known = plain.str.fullmatch(pattern)
    if thousands is not None:
        mark = f"[{BLANKS if thousands in BLANKS else re.escape(thousands)}]"
        known |= plain.str.fullmatch(rf"[+-]?[1-9]\d{{0,2}}(?:{mark}\d{{3}})+(?:{point}\d*)?")
        plain = plain.str.replace(mark, "", regex=True)
    plain = plain.str.replace(decimal, ".", regex=False).where(known.fillna(False))
    return pd.to_numeric(plain, errors="coerce").astype("float64")
