"""The description of a panel that a forecaster stores, and the check that another panel fits it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from stgate.errors import PanelError, RequestError
from stgate.schema.panel import check_panel, some, step_text, time_kind
from stgate.schema.steps import Step, has_step, step_label
from stgate.schema.units import agree, check_unit, conversion, in_units, other_units, units_of
from stgate.schema.words import no_variable


@dataclasses.dataclass(frozen=True)
class PanelSpec:
    """Description of the panel that a forecaster was fitted on, in plain JSON-able values; the checkpoint holds it.

    Attributes:
        targets: Variables that are forecast.
        nodes: Node labels, in the order of the network's nodes.
        step: Length of one time step, in seconds for calendar time, in model time units for model time.
        time: `calendar` (datetime64) or `model` (float).
        window: Input length, in steps.
        horizon: Forecast length, in steps.
        past_covariates: Covariates known up to the forecast's origin.
        future_covariates: Covariates known ahead, over the horizon too.
        static_covariates: Node coordinates or node variables, one number a node.
        calendar: Names of the calendar features, such as `hour`, `weekday` or `hour/2`.
        units: Units by name, of the targets, and where the panel has them of the covariates and static covariates;
            forecasters of earlier versions hold those of the targets only.
        boundary: `periodic` when the nodes form a ring, or the lattice a torus, else `open`.
        time_units: Units of model time; empty for calendar time.
        lattice: Numbers of rows and columns where the nodes are all cells of a lattice, row by row; else None.
        places: Node coordinates, the first of the static covariates, by which a field locates a node. A panel with
            other nodes then fits too. Empty for forecasters that know the nodes by their labels.
        ahead: Number of steps after an entry whose observations a field sees; 0 if it sees none.
        months: Number of calendar months in a time step, whose mean length `step` is; 0 for steps of a fixed length.
        meridian: Longitude around which longitudes among the static covariates are counted, within 180 degrees of it;
            None where there are none, and for forecasters of earlier versions, which take them as they are.
    """

    targets: tuple[str, ...]
    nodes: tuple[str | int, ...]
    step: float
    time: Literal["calendar", "model"]
    window: int
    horizon: int
    past_covariates: tuple[str, ...] = ()
    future_covariates: tuple[str, ...] = ()
    static_covariates: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    boundary: Literal["open", "periodic"] = "open"
    time_units: str = ""
    lattice: tuple[int, ...] | None = None
    places: tuple[str, ...] = ()
    ahead: int = 0
    months: int = 0
    meridian: float | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """All variables over time, in tensor order: targets, past covariates, future covariates."""
        return self.targets + self.past_covariates + self.future_covariates

    @property
    def time_step(self) -> Step:
        """One time step: a timedelta64 (in the unit `M` for calendar months), or a float."""
        if self.months:
            return np.timedelta64(self.months, "M")
        return np.timedelta64(round(self.step * 1e6), "us") if self.time == "calendar" else self.step

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, dicts, strings and numbers; `PanelSpec.from_dict` reverses it."""
        plain = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> PanelSpec:
        """Rebuild a spec from what `to_dict` returned."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        return cls(**values)

    def __eq__(self, other: object) -> bool:
        """Tell if two specs are the same; units are compared where both are known."""
        return isinstance(other, PanelSpec) and not self.differences(other)

    def differences(self, other: PanelSpec) -> list[str]:
        """Return the names of the entries in which two specs differ; units are compared where both are known.

        Args:
            other: The other spec.
        """
        names = [field.name for field in dataclasses.fields(self)]
        odd = [name for name in names if getattr(self, name) != getattr(other, name)]
        if not other_units(self.units, other.units):
            odd = [name for name in odd if name != "units"]
        return odd if not agree(self.time_units, other.time_units) else [name for name in odd if name != "time_units"]

    def in_units(self, panel: xr.Dataset, *, values: bool = True) -> xr.Dataset:
        """Return a panel whose variables are in the units of this spec.

        Args:
            panel: A panel.
            values: Convert values over time too; else a panel that needs it is refused: it would be loaded.

        Raises:
            PanelError: A variable is in another unit, and the conversion is not certain or would load the panel.
        """
        made: dict[str, xr.DataArray] = {}
        try:
            check_unit(panel["time"], self.time_units, "`time`")
            for name in other_units(self.units, units_of(panel, self.units)):
                array, unit = panel[name], self.units[name]
                if not values and "time" in array.dims and conversion(array, unit, f"`{name}`") != (1.0, 0.0):
                    raise RequestError(
                        f"`{name}`: is in {array.attrs['units']!r}, wanted is {unit!r}; a panel that is read in blocks "
                        "is not converted: raise max_memory, or convert it, and set its attribute units"
                    )
                made[name] = in_units(array, unit, f"`{name}`")
        except RequestError as error:
            raise PanelError(str(error)) from error
        return panel.assign(made) if made else panel

    def check(self, panel: xr.Dataset, *, values: bool = True, regular: bool = True) -> xr.Dataset:
        """Check that a panel fits the forecaster, and put its nodes in the forecaster's order.

        Args:
            panel: The panel.
            values: Look for infinite values too. This loads a panel that was opened lazily.
            regular: Require evenly spaced times, at the step that the forecaster was fitted on.

        Returns:
            The panel in this spec's units, with its nodes in this spec's order. Where a field locates nodes by
            coordinates, the panel's own nodes stay as they are.

        Raises:
            PanelError: The panel lacks a variable, has other nodes or another time step, or units that cannot be
                converted.
        """
        check_panel(panel, values=values, regular=regular)
        check_places(panel, self.places)
        for name in (*self.channels, *self.static_covariates):
            if name not in (panel.data_vars if name in self.channels else panel):
                raise no_variable(name, map(str, panel.data_vars))
            if name in self.channels and "time" not in panel[name].dims:
                raise PanelError(f"`{name}`: has no time dimension; give it in static_covariates")
        for name in self.static_covariates:
            if panel[name].dims != ("node",) or panel[name].dtype.kind not in "fiub":
                raise PanelError(
                    f"`{name}`: a static covariate holds one number a node, this one holds {panel[name].dtype} over "
                    f"({', '.join(map(str, panel[name].dims))}); leave it out"
                )
        kind = time_kind(panel)
        if kind != self.time:
            raise PanelError(f"`time`: the panel has {kind} time, the forecaster was fitted on {self.time} time")
        panel = self.in_units(panel, values=values)
        given = step_text(panel) if regular else ""
        if regular and not has_step(panel["time"].values, self.time_step):
            raise PanelError(
                f"`time`: the panel's step is {given}, the forecaster was fitted on steps of "
                f"{step_label(self.time_step, self.time_units)}; fit on this panel, or "
                "put it on that step (means over each, as panel.resample makes them, lose the single values)"
            )
        if self.places:
            return panel
        have_nodes = list(panel["node"].values.tolist())
        lacking = [n for n in self.nodes if n not in set(have_nodes)]
        extra = [n for n in have_nodes if n not in set(self.nodes)]
        if lacking or extra:
            differences = "; ".join(
                f"{what} {some(names)}" for what, names in (("lacks", lacking), ("has unknown", extra)) if names
            )
            raise PanelError(
                f"`node`: the panel's nodes are not those the forecaster was fitted on ({differences}); "
                "select them with panel.sel(node=[...]) or fit on this panel"
            )
        return panel if have_nodes == list(self.nodes) else panel.sel(node=list(self.nodes))


def check_places(panel: xr.Dataset, names: Sequence[str]) -> None:
    """Refuse a panel that lacks coordinates of its nodes.

    Args:
        panel: A panel.
        names: Names of the coordinates that each node needs.

    Raises:
        PanelError: The panel lacks a coordinate, or it is missing at a node.
    """
    for name in names:
        if name not in panel:
            raise PanelError(
                f"`{name}`: the nodes have no such coordinate; assign it (a table: stgate data convert --coords)"
            )
        unknown = ~np.isfinite(np.asarray(panel[name].values, np.float64))
        if unknown.any():
            label = some(panel["node"].values[unknown].tolist())
            raise PanelError(f"`{name}`: missing at node {label}; assign it, or drop the node")
