"""Advice on what a panel lacks: its dimensions, and times without a zone."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import refusal

import stgate
from stgate.errors import PanelError
from stgate.schema.panel import check_panel

HOURS = pd.date_range("2021-03-01", periods=9, freq="h")


def on() -> xr.Dataset:
    """A panel of two nodes, whose values are all different."""
    values = np.arange(18.0).reshape(9, 2)
    return xr.Dataset({"y": (("time", "node"), values)}, {"time": HOURS, "node": ["a", "b"]})


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_times_with_a_zone_become_utc(zone):
    times = pd.date_range("2021-03-28", periods=9, freq="h", tz=zone)
    panel = on().assign_coords(time=times)
    message = str(refusal(PanelError, check_panel, panel))
    whole = eval(message.rpartition(" with ")[2], {}, {"panel": panel})
    check_panel(whole)
    assert (whole.indexes["time"] == times.tz_convert(None)).all() and (whole["y"].values == on()["y"].values).all()


CELLS = xr.Dataset({"y": (("time", "lat", "lon"), np.arange(18.0).reshape(3, 2, 3))}, {"time": HOURS[:3]})
CELLS = CELLS.assign_coords(lat=[50.0, 51.0], lon=[7.0, 8.0, 9.0])
ABSENT = {
    "another name of the nodes": (on().rename(node="station"), "panel.rename({'station': 'node'})"),
    "another name of the times": (on().rename(time="valid_time"), "panel.rename({'valid_time': 'time'})"),
    "one node": (on().isel(node=0), "panel.expand_dims('node', axis=-1)"),
    "one node without a label": (
        on().isel(node=0, drop=True),
        "panel.expand_dims(node=['a'], axis=-1)",
    ),
    "one time": (on().isel(time=0), "panel.expand_dims('time', axis=0)"),
    "a lattice": (CELLS, "stgate.from_lattice(panel)"),
    "a projected lattice": (CELLS.rename(lat="y_c", lon="x_c").rename(y_c="y", x_c="x", y="t"), "from_lattice(panel)"),
}


@pytest.mark.parametrize("kind", ABSENT)
def test_a_dimension_that_is_absent_is_made_of_what_there_is(kind):
    panel, code = ABSENT[kind]
    message = str(refusal(PanelError, check_panel, panel))
    assert message.endswith(f" with {code}") or message.endswith(f" with stgate.{code}")
    whole = eval(message.rpartition(" with ")[2], {"panel": panel, "stgate": stgate})
    check_panel(whole)
    assert whole["t" if "projected" in kind else "y"].size == panel["t" if "projected" in kind else "y"].size
