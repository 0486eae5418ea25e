"""Whole numbers of files keep their digits as floats, or are refused; feather is read like parquet."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import says

import stgate
from stgate.errors import PanelError, StoreError
from stgate.io.readers import read_tables


def written(folder, suffix, dtype, first, encoding=None, **attrs):
    values = (np.arange(6, dtype=dtype) + np.array(first, dtype))[:, None]
    time = pd.date_range("2024-01-01", periods=6, freq="h")
    panel = xr.Dataset({"y": (("time", "node"), values, attrs)}, {"time": time, "node": ["a"]})
    path = folder / f"p{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (panel.to_zarr if suffix == ".zarr" else panel.to_netcdf)(path, encoding={"y": encoding or {}})
    return path, values


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize(
    ("dtype", "first"),
    [("int16", 30000), ("int32", 2**31 - 9), ("int64", 2**40), ("int64", -(2**50)), ("uint8", 240), ("uint64", 2**52)],
)
def test_with_a_mark_they_keep_their_digits(tmp_path, suffix, dtype, first):
    path, values = written(tmp_path, suffix, dtype, first, {"_FillValue": np.array(7, dtype)[()]})
    assert [int(x) for x in stgate.open_panel(path)["y"].values[:, 0]] == values[:, 0].tolist()


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize(("dtype", "first"), [("int64", 2**60), ("int64", -(2**60)), ("uint64", 2**63)])
def test_those_that_floats_would_round_are_refused(tmp_path, suffix, dtype, first):
    path, _ = written(tmp_path, suffix, dtype, first, {"_FillValue": np.array(7, dtype)[()]})
    with pytest.raises(StoreError, match=r"`y` holds whole numbers beyond 2\*\*53"):
        stgate.open_panel(path)


def test_the_printed_mend_keeps_them():
    time = pd.date_range("2024-01-01", periods=3, freq="h")
    panel = xr.Dataset(
        {"y": (("time", "node"), [[2**60 + 1], [2**60 + 2], [2**60 + 4]])}, {"time": time, "node": ["a"]}
    )
    with pytest.raises(PanelError) as caught:
        stgate.check_panel(panel)
    says(str(caught.value), "of which floats hold 15")
    mended = eval(str(caught.value).split(" with ")[-1], {}, {"panel": panel})
    stgate.check_panel(mended)
    assert mended["y"].values[:, 0].tolist() == [0, 1, 3]


@pytest.mark.parametrize("suffix", [".feather", ".arrow"])
def test_feather_is_read_like_parquet(tmp_path, suffix):
    frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=4, freq="h").repeat(2), "node": ["007", "b"] * 4})
    frame["y"] = np.arange(8) + 2**30
    frame.to_feather(tmp_path / f"t{suffix}")
    panel = read_tables(tmp_path / f"t{suffix}", node="node")
    assert panel["y"].dtype == "float64" and int(panel["y"].values[-1, -1]) == 2**30 + 7
    assert panel["node"].values.tolist() == ["007", "b"]
    frame.assign(y=pd.date_range("2024-01-01", periods=8)).to_feather(tmp_path / f"d{suffix}")
    with pytest.raises(PanelError, match="y"):
        read_tables(tmp_path / f"d{suffix}", node="node")
    (tmp_path / f"bad{suffix}").write_bytes(b"ARROW1 no")
    with pytest.raises(StoreError, match="not a readable table"):
        read_tables(tmp_path / f"bad{suffix}", node="node")
