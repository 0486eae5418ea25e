"""Units of variables: written alike, converted by pint where that is certain, or refused."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr

from stgate.errors import RequestError

Terms = list[tuple[str, int]]
"""Factors of a unit with their powers."""

SIGNS = str.maketrans("µμ²³⁴⁻¹−·⋅×*", "uu234-1-....")
"""Signs of units, and those that stand for them here."""
TERM = re.compile(r"[\s.]*(/?)\s*([^\W\d]+|[%°℃‰]\w?|1(?!\w|\.\d))((?:[+-]?\d+)?)")
"""One factor of a unit with its power, after a blank, a point or a slash."""
SPELLINGS = {
    "degC": "°C ℃ celsius degree_celsius degrees_celsius degreeC deg_C degree_C degrees_C",
    "degF": "°F fahrenheit degree_fahrenheit degrees_fahrenheit degreeF deg_F degree_F degrees_F",
    "K": "kelvin kelvins degK",
    "degree": "deg degrees ° "
    + " ".join(f"degree{s}{end}" for s in ("", "s") for end in ("_north", "_east", "_N", "_E", "N", "E")),
    "1": "dimensionless unitless",
    "percent": "%",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres",
    "s": "sec second seconds",
    "min": "minute minutes",
    "h": "hr hour hours",
    "d": "day days",
    "calendar_month": "month months",
    "calendar_year": "year years yr a",
    "parts_per_million": "ppm",
    "parts_per_billion": "ppb",
}
"""Names of units here, and other names of them."""
NAMES = {other: name for name, others in SPELLINGS.items() for other in others.split()}
UNCERTAIN = {
    *("ton", "tons", "mt", "ppt", "cal", "nm", "hp", "horsepower", "gal", "gallon", "gallons", "pint", "pints", "pt"),
    *("quart", "quarts", "qt", "cup", "cups", "bushel", "bushels", "barrel", "barrels", "bbl", "ounce", "ounces", "oz"),
}
"""Names that stand for several units: `bbl` is one of oil or of beer, `nm` a nanometre or a nautical mile."""
APART = {"volt_ampere", "sievert"}
"""Units, in pint's names, of quantities of their own, which pint takes for watts and grays."""
MILLIONS = ("Mm", 3)
"""A cubic megametre, by which a million cubic metres is meant."""
DIFFERENCES = ("difference", "anomaly", "standard_deviation", "range", "change")
"""Words of CF's attributes for values that are distances on the scale of their unit: 1 K of them is 1 degC."""
OWN = (
    "calendar_month = [calendar]",  # no fixed number of days
    "calendar_year = 12 * calendar_month",
    "parts_per_million = [parts]",  # of the mass, of the volume or of the moles
    "parts_per_billion = 1e-3 * parts_per_million",
)
"""Units that pint would convert to others, which is not certain."""


def same_unit(one: str, other: str) -> bool:
    """Tell if two units are the same but for the way of writing blanks, powers, products, micro and common names.

    Args:
        one: A unit, such as `µg/m³`.
        other: Another one.

    >>> same_unit("µg/m³", "ug m-3"), same_unit("m s**-1", "m/s"), same_unit("ug/m3", "mg/m3")
    (True, True, False)
    """
    first, second = _terms(one), _terms(other)
    if first is None or second is None:
        return one.split() == other.split()
    return sorted(first) == sorted(second)


def agree(one: str, other: str) -> bool:
    """Tell if two units are the same, or one of them is not known."""
    return not one or not other or same_unit(one, other)


def units_of(dataset: xr.Dataset, names: Iterable[str]) -> dict[str, str]:
    """Return the units of variables by name, as far as a dataset has them.

    Args:
        dataset: A panel.
        names: Names of variables and coordinates.
    """
    found = {name: str(dataset[name].attrs.get("units", "")) for name in names if name in dataset}
    return {name: unit for name, unit in found.items() if unit}


def other_units(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the names of variables whose units differ, of those whose units are known twice."""
    return [name for name, unit in one.items() if not agree(unit, other.get(name, ""))]


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
    if not agree(unit, wanted):
        raise RequestError(f"{what}: is in {unit!r}, wanted is {wanted!r}; convert it, and set its attribute units")


def in_units(array: xr.DataArray, wanted: str, what: str) -> xr.DataArray:
    """Return a variable in a unit, computed in float64; unchanged where one of both units is not known.

    Args:
        array: A variable; its attribute `units` names its unit.
        wanted: The unit that is wanted.
        what: Name of the values, for the message.

    Raises:
        RequestError: The conversion is not certain, or needs pint, which is not installed.
    """
    unit = str(array.attrs.get("units", ""))
    if not unit or not wanted:
        return array
    slope, offset = conversion(array, wanted, what)
    made = array if (slope, offset) == (1.0, 0.0) else array.astype("float64") * slope + offset
    return made.assign_attrs({**array.attrs, "units": wanted})


def conversion(array: xr.DataArray, wanted: str, what: str) -> tuple[float, float]:
    """Return slope and offset from the unit of a variable to another; 1 and 0 where one of both is not known.

    Args:
        array: A variable; its attribute `units` names its unit.
        wanted: The unit that is wanted.
        what: Name of the values, for the message.

    Raises:
        RequestError: The conversion is not certain, or needs pint, which is not installed.
    """
    unit = str(array.attrs.get("units", ""))
    if agree(unit, wanted):
        return 1.0, 0.0
    try:
        if array.dtype.kind not in "fiu":
            raise RequestError(f"it holds {array.dtype}, not numbers")
        slope, offset = factors(unit, wanted)
    except RequestError as error:
        raise RequestError(
            f"{what}: is in {unit!r}, wanted is {wanted!r}; {error}: convert it, and set its attribute units"
        ) from error
    about = (str(array.attrs.get(key, "")) for key in ("units_metadata", "standard_name", "cell_methods"))
    is_difference = any(word in text for text in about for word in DIFFERENCES)
    return slope, 0.0 if is_difference else offset


def factors(unit: str, wanted: str) -> tuple[float, float]:
    """Return slope and offset from one unit to another.

    Args:
        unit: The unit of the values.
        wanted: The unit that is wanted.

    Raises:
        RequestError: The units are of different quantities or are not known, which of several units is meant is not
            certain, or pint is not installed.
    """
    first, second = _known(unit), _known(wanted)
    root, other = first.to_root_units(), second.to_root_units()
    same_kind = _without_counts(root) == _without_counts(other)  # pint takes radians for ones
    ratio, wanted_ratio = _cancelled(unit), _cancelled(wanted)  # moles of moles are not grams of grams
    if not same_kind or _apart(unit) != _apart(wanted) or (ratio and wanted_ratio and ratio != wanted_ratio):
        raise RequestError("they measure different quantities")

    def of(number: float) -> float:
        return float(_registry().Quantity(number, first.units).to(second.units).magnitude)

    near, half, far = of(32.0), of(64.0), of(96.0)
    if abs(near + far - 2 * half) > 1e-9 * abs(far - near):
        raise RequestError("one of them is a logarithm")
    return float(f"{(far - near) / 64:.15g}"), float(f"{of(0.0):.15g}")


def _terms(unit: str) -> Terms | None:
    """Return the factors of a unit, in this package's names; None if it is not written as a product of units."""
    text, at, found = unit.replace("**", "").replace("^", "").translate(SIGNS).strip(), 0, []
    divided = False
    while at < len(text):
        part = TERM.match(text, at)
        if part is None:
            return None
        mark, name, power = part.groups()
        if divided and not mark and not power.startswith("-"):
            return None  # in W/m2 K it is not certain what is divided
        divided, at = divided or bool(mark), part.end()
        if int(power or 1) == 0:
            return None
        name = NAMES.get(name, NAMES.get(name.lower(), name) if len(name) > 3 else name)
        if name != "1":
            found.append((name, int(power or 1) * (-1 if mark and not power.startswith("-") else 1)))
    return found if text else None


@functools.cache
def _registry() -> Any:  # noqa: ANN401 (pint need not be installed)
    """Return pint's units and those of this package.

    Raises:
        RequestError: pint is not installed.
    """
    try:
        import pint
    except ImportError as error:
        raise RequestError("pint converts units and is not installed (pip install 'stgate[units]')") from error
    registry = pint.UnitRegistry()
    for line in OWN:
        registry.define(line)
    return registry


def _known(unit: str) -> Any:  # noqa: ANN401 (a quantity of pint)
    """Return one of a unit as a quantity of pint.

    Raises:
        RequestError: The unit is not known, or stands for several.
    """
    registry, terms = _registry(), _terms(unit)
    if terms is None:
        raise RequestError(f"{unit!r} is not written as a product of units with powers")
    for name, power in terms:
        if name in UNCERTAIN or _base(name) in _uncertain() or (name, abs(power)) == MILLIONS:
            raise RequestError(f"{name!r} stands for several units")
        try:
            registry.parse_units(name)
        except Exception as error:  # of several kinds, by release
            raise RequestError(f"{name!r} is not a unit that pint knows") from error
    return registry.Quantity(1.0, registry.parse_units("*".join(f"{name}**{power}" for name, power in terms)))


def _base(name: str) -> str:
    """Return pint's name of a unit without its prefix, such as `calorie` of `kcal`; empty if it is not known."""
    return next((str(base) for _, base, _ in _registry().parse_unit_name(name)), "")


@functools.cache
def _uncertain() -> set[str]:
    """Return pint's names of the units that stand for several; with a prefix they do too."""
    parsed = [one for name in UNCERTAIN for one in _registry().parse_unit_name(name)[:1]]
    return {base for prefix, base, _ in parsed if not prefix}


def _apart(unit: str) -> set[str]:
    """Return the units among the factors that measure quantities of their own."""
    return {_base(name) for name, _ in _terms(unit) or []} & APART


def _without_counts(quantity: Any) -> dict[str, float]:  # noqa: ANN401 (a quantity of pint)
    """Return the base units of a quantity with their powers; counts are numbers."""
    return {str(name): round(power, 9) for name, power in dict(quantity.unit_items()).items() if name != "count"}


def _cancelled(unit: str) -> set[str]:
    """Return the base dimensions that cancel between the factors of a unit, as in mol mol-1, and `percent`."""
    powers: dict[str, list[float]] = {}
    for name, power in _terms(unit) or []:
        if name == "percent":
            powers[name] = [0]  # of what is not said
        dimensions = dict(_registry().parse_units(name).dimensionality)
        if len(dimensions) == 1:
            dimension, own = next(iter(dimensions.items()))
            powers.setdefault(dimension, []).append(own * power)
    return {dimension for dimension, all_of_it in powers.items() if sum(all_of_it) == 0}
