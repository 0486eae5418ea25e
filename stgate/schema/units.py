"""Units of variables: written alike, or not to be compared."""

from __future__ import annotations

import re

import xarray as xr

from stgate.errors import RequestError

ALIKE = str.maketrans({"µ": "u", "μ": "u", "²": "2", "³": "3", "⁻": "-", "¹": "1", "·": " ", "−": "-"})
"""Signs of units, and those that stand for them here."""


def same_unit(one: str, other: str) -> bool:
    """Tell if two units are the same but for the way of writing blanks, powers, products and the sign of micro.

    Args:
        one: A unit, such as `µg/m³`.
        other: Another one.

    >>> same_unit("µg/m³", "ug m-3"), same_unit("m s**-1", "m/s"), same_unit("ug/m3", "mg/m3")
    (True, True, False)
    """
    return _plain(one) == _plain(other)


def _plain(unit: str) -> list[tuple[str, str]]:
    """Return the factors of a unit with their powers, in the order of the alphabet."""
    text = unit.translate(ALIKE).replace("**", "").replace("^", "")
    found, sign = [], ""
    for mark, factor, power in re.findall(r"([/*.]?)\s*([^\s/*.\d-]+|\d+(?![a-zA-Z]))\s*(-?\d*)", text):
        sign = "-" if mark == "/" else ""
        value = power or "1"
        found.append((factor, value.removeprefix("-") if sign and value.startswith("-") else sign + value))
    factors = sorted(one for one in found if one[0] != "1")  # 1/m is m-1
    return factors or [(text.strip(), "")]


def check_unit(array: xr.DataArray, wanted: str, what: str) -> None:
    """Refuse values in another unit than the one that is wanted; where one of both is not known, nothing is refused.

    Args:
        array: A variable; its attribute `units` names its unit.
        wanted: The unit that is wanted.
        what: Name of the values, for the message.

    Raises:
        RequestError: Both units are known, and differ.
    """
    unit = str(array.attrs.get("units", ""))
    if unit and wanted and not same_unit(unit, wanted):
        raise RequestError(f"{what}: is in {unit!r}, wanted is {wanted!r}; convert it, and set its attribute units")
