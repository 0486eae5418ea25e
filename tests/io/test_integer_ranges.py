"""Integers outside of their valid range are missing, when a file is read and when they are cast as the refusal says."""

import netCDF4
import numpy as np
import pandas
import pytest
import xarray as xr

from stgate.errors import PanelError, PanelWarning
from stgate.io import open_panel
from stgate.schema.panel import check_panel

RANGES = {
    "pair": ("i2", {"valid_range": np.array([0, 20], "i2")}),
    "largest": ("i4", {"valid_max": np.int32(20)}),
    "smallest": ("i8", {"valid_min": np.int64(0)}),
    "floats": ("i2", {"valid_range": [0.0, 20.0]}),
    "unsigned": ("u1", {"valid_max": np.uint8(20)}),
    "unsigned bits": ("i1", {"_Unsigned": "true", "valid_range": np.array([0, -56], "i1")}),
}


def written(path, kind, attrs, odd):
    with netCDF4.Dataset(path, "w") as file:
        for dim, size in (("time", 6), ("node", 2)):
            file.createDimension(dim, size)
            file.createVariable(dim, "i4", (dim,))[:] = np.arange(size)
        file["time"].units = "hours since 2024-01-01"
        y = file.createVariable("y", kind, ("time", "node"), fill_value=False)
        y.set_auto_maskandscale(False)
        y.setncatts(attrs)
        values = np.arange(12).reshape(6, 2)
        values[3, 1] = odd
        y[:] = values.astype(kind)
    return path


@pytest.mark.parametrize("name", RANGES)
def test_integers_outside_of_their_valid_range_are_missing(name, tmp_path):
    kind, attrs = RANGES[name]
    path = written(tmp_path / "p.nc", kind, attrs, -5 if name != "largest" and kind != "u1" else 90)
    expected = np.arange(12.0).reshape(6, 2)
    expected[3, 1] = np.nan
    with pytest.warns(PanelWarning, match="`y`: 1 of its values, outside its valid range"):
        panel = open_panel(path)
    assert panel["y"].dtype.kind == "f"
    np.testing.assert_array_equal(panel["y"], expected)
    raw = xr.open_dataset(path)
    with pytest.raises(PanelError, match=r"not floats; cast it with panel\.assign") as refused:
        check_panel(raw)
    code = str(refused.value).split("cast it with ")[1]
    mended = eval(code, {"panel": raw, "pandas": pandas})
    check_panel(mended)
    np.testing.assert_array_equal(mended["y"], expected)


def test_integers_within_their_range_are_refused_with_a_plain_cast(tmp_path):
    path = written(tmp_path / "p.nc", "i2", {"valid_range": np.array([0, 20], "i2")}, 7)
    with pytest.raises(PanelError, match=r"panel\.assign\(\{'y': panel\['y'\]\.astype\('float32'\)\}\)"):
        open_panel(path)


def test_integers_that_floats_would_round_are_refused(tmp_path):
    path = written(tmp_path / "p.nc", "i8", {"valid_max": np.int64(2**60)}, 2**61)
    raw = xr.open_dataset(path).load()
    raw["y"][0, 0] = 2**59 + 1
    raw.to_netcdf(tmp_path / "q.nc")
    with pytest.raises(PanelError, match=r"`y`: holds whole numbers beyond 2\*\*53"):
        open_panel(tmp_path / "q.nc")
