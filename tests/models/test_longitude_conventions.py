"""Forecasts do not depend on how longitudes are counted."""

import numpy as np
import pytest
from helpers import fitted

import stgate
from stgate.data import FieldData, WindowData
from stgate.models import CGLUBNF, GatedRNN, Ridge


def network():
    """Return a panel of stations west and east of Greenwich."""
    panel = stgate.simulate.sensor_network(stations=10, duration=80, seed=1)[["pm25"]].isel(member=0, drop=True)
    lon = np.round(np.linspace(-4.0, 5.0, 10), 2)
    kept = panel.drop_vars([name for name in panel.coords if panel[name].dims == ("node",) and name != "node"])
    lat = np.round(50 + np.linspace(0, 3, 10) ** 2 % 3, 2)
    return kept.assign_coords(lat=("node", lat), lon=("node", lon))


def turned(panel, dtype="float64"):
    """Return the same panel with longitudes from 0 to 360."""
    return panel.assign_coords(lon=("node", np.mod(panel["lon"].values, 360).astype(dtype)))


@pytest.mark.parametrize("make", [Ridge, lambda: GatedRNN(hidden=4)])
def test_static_longitudes_of_windows(make):
    panel = network()
    data = WindowData(panel, targets="pm25", static_covariates=["lon", "lat"], window=6, horizon=2)
    model = fitted(make(), data)
    wanted = stgate.forecast(model, panel)["pm25_mean"].values
    assert np.array_equal(stgate.forecast(model, turned(panel))["pm25_mean"].values, wanted, equal_nan=True)
    other = WindowData(turned(panel), targets="pm25", static_covariates=["lon", "lat"], window=6, horizon=2)
    stgate.calibrate(model.eval(), other)  # the same data, though their longitudes are others


def test_fields_know_their_stations():
    panel = network()
    data = FieldData(panel, targets="pm25", context=4, batch_size=16)
    model = fitted(CGLUBNF(width=16), data)
    wanted = stgate.reconstruct(model, panel)["pm25_mean"].values
    for dtype in ("float64", "float32"):
        made = stgate.reconstruct(model, turned(panel, dtype))["pm25_mean"].values
        np.testing.assert_allclose(made, wanted, rtol=1e-4)
