"""The time of reading a panel grows with its number of variables, not with the square of it."""

import time

import numpy as np
import xarray as xr
from helpers import make_panel

from stgate.io import open_panel


def test_many_variables_take_no_more_time_each_than_a_few(tmp_path):
    whole, seconds = make_panel(steps=6), {}
    for count in (100, 1000):
        names = [f"v{number}" for number in range(count)]
        panel = xr.Dataset({name: whole["y"].variable.copy(deep=True) for name in names}, whole.coords)
        panel.to_netcdf(tmp_path / f"{count}.nc")
        started = time.process_time()
        read = open_panel(tmp_path / f"{count}.nc")
        seconds[count] = (time.process_time() - started) / count
        assert list(read.data_vars) == names
        np.testing.assert_array_equal(read["v7"].values, whole["y"].values)
    assert seconds[1000] < 1.5 * seconds[100]
