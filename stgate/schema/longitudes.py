"""Longitudes, which are the same modulo 360: compared, selected and counted around a meridian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import PanelError

NAMES = ("lon", "longitude", "lng", "long")
"""Names of a coordinate of longitudes, in lower case."""
UNITS = ("degrees_east", "degree_east", "degrees_e", "degree_e", "degreese", "degreee")
"""CF's units of longitudes, in lower case."""
ROUNDING = 1e-9
"""Degrees by which a longitude may lie beyond a bound for its rounding."""

Floats = NDArray[np.float64]


def is_longitude(name: object, attrs: dict[Any, Any] | None = None) -> bool:
    """Tell if a coordinate holds longitudes, by its name or its CF attributes."""
    attrs = attrs or {}
    units = str(attrs.get("units", "")).lower()
    return str(name).lower() in NAMES or units in UNITS or attrs.get("standard_name") == "longitude"


def inside(values: NDArray[Any], low: float, high: float) -> NDArray[np.bool_]:
    """Tell which longitudes lie between two meridians, ends included, going east from the first to the second.

    >>> inside(np.array([350.0, -10.0, 30.0]), -15.0, 25.0).tolist(), inside(np.array([175.0, 0.0]), 170, -170).tolist()
    ([True, True, False], [True, False])
    """
    if high - low >= 360:
        return np.asarray(np.isfinite(np.asarray(values, "float64")))
    single = np.asarray(values).dtype == np.float32  # -0.3 in float32 is 1e-8 beyond -0.3, 359.7 is 1e-5
    rounding = float(np.spacing(np.float32(360))) if single else ROUNDING
    east = np.mod(np.asarray(values, "float64") - low + rounding, 360.0)
    made: NDArray[np.bool_] = east <= (high - low) % 360.0 + 2 * rounding
    return made


def meridian_of(values: NDArray[Any]) -> float:
    """Return the middle of the shortest arc that holds all longitudes, in the convention in which they are given.

    >>> [meridian_of(np.array(pair)) for pair in ([179.0, -179.0], [350.0, 355.0], [-3.0, 1.0])]
    [180.0, 352.5, -1.0]
    """
    given = np.asarray(values, "float64")
    turned = np.sort(np.mod(given[np.isfinite(given)], 360.0))
    if not turned.size:
        return 0.0
    gaps = np.diff(turned, append=turned[0] + 360.0)
    start = turned[(int(np.argmax(gaps)) + 1) % turned.size]
    middle = start + (360.0 - gaps.max()) / 2
    raw = (np.nanmin(given) + np.nanmax(given)) / 2
    return float(middle + 360.0 * np.round((raw - middle) / 360.0)) + 0.0


def around(values: NDArray[Any], meridian: float) -> Floats:
    """Return longitudes within 180 degrees of a meridian.

    >>> around(np.array([357.0, -3.0, 3.0]), 0.0).tolist()
    [-3.0, -3.0, 3.0]
    """
    given = np.asarray(values, "float64")
    turns = np.round((given - meridian) / 360.0)
    made: Floats = given - 360.0 * turns
    if np.asarray(values).dtype == np.float32:  # 357.12 in float32 is the place of -2.88, but for the rounding of both
        made = np.where(turns == 0, given, np.round(made, 4))
    return made


def check_longitudes(panel: xr.Dataset) -> None:
    """Refuse degrees that are no place, and nodes of which some count from -180 to 180 and others from 0 to 360.

    Args:
        panel: A panel.

    Raises:
        PanelError: There are some; the message names the coordinate and the fix.
    """
    for name, coord in panel.coords.items():
        turning = is_longitude(name, coord.attrs)
        if coord.dims != ("node",) or coord.dtype.kind not in "fiu" or not (turning or name in ("lat", "latitude")):
            continue
        values, limit = np.asarray(coord.values, "float64"), 540 if turning else 90  # models of oceans reach 434
        if (np.abs(values) > limit + ROUNDING).any():
            raise PanelError(
                f"`{name}`: {values[np.nanargmax(np.abs(values))]:g} at a node, beyond {limit} degrees; it may be "
                f"swapped with `{'lat' if turning else 'lon'}`; correct it, or mark it as missing with "
                f"panel.assign_coords({name}=panel.{name}.where(abs(panel.{name}) <= {limit}))"
            )
        if turning and np.nanmin(values, initial=0.0) < 0 and np.nanmax(values, initial=0.0) > 180:
            raise PanelError(
                f"`{name}`: some nodes lie at {np.nanmin(values):g}, others at {np.nanmax(values):g}, so that two ways "
                f"to count longitudes are mixed; take one: panel.assign_coords({name}=(panel.{name} + 180) % 360 - 180)"
            )


def alike(panels: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Count the longitudes of all panels as the first one does in which some are negative or above 180.

    Args:
        panels: Panels, each with one way to count longitudes.
    """
    names = {str(n): c for p in panels for n, c in p.coords.items() if c.dims == ("node",) and c.dtype.kind in "fiu"}
    made = list(panels)
    for name in (n for n, coord in names.items() if is_longitude(n, coord.attrs)):
        ends = [(float(p[name].min()), float(p[name].max())) for p in panels if name in p.coords]
        middle = next((180.0 * (high > 180) for low, high in ends if low < 0 or high > 180), None)
        if middle is not None:
            made = [p if name not in p.coords else _counted(p, name, middle) for p in made]
    return made


def _counted(panel: xr.Dataset, name: str, meridian: float) -> xr.Dataset:
    given = panel[name]
    turned = np.round(around(given.values, meridian), 9)  # 350.1 - 360 is not -9.9 to the last digit
    changed = np.abs(given.values - turned) > 180
    return (
        panel.assign_coords({name: given.copy(data=np.where(changed, turned, given.values))})
        if changed.any()
        else panel
    )
