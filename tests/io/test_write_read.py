"""Any panel that is written comes back: values, gaps, labels, times, units."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import stgate
from stgate.io import open_panel, read_npz, read_tables

LABELS = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=6)
STEPS = st.sampled_from(["5min", "h", "D", "W-MON"])


@st.composite
def panels(draw, *, members=False, model_time=False, dtypes=("float32", "float64"), min_steps=3):
    """Up to three variables over up to five nodes, whatever is missing."""
    steps = draw(st.integers(min_steps, 12))
    nodes = draw(st.lists(LABELS.map(lambda text: f"n{text}"), min_size=1, max_size=5, unique=True))
    if model_time and draw(st.booleans()):
        step = draw(st.sampled_from([0.05, 0.25, 1.0]))
        time = ("time", np.arange(steps) * step, {"units": "1"})
    else:
        time = ("time", pd.date_range("2019-12-30", periods=steps, freq=draw(STEPS)))
    dims, shape = ("time", "node"), (steps, len(nodes))
    if members and draw(st.booleans()):
        dims, shape = ("member", *dims), (2, *shape)
    dtype = draw(st.sampled_from(dtypes))
    values = st.one_of(st.just(np.nan), st.floats(-(2.0**60), 2.0**60, width=32))
    variables = {
        name: (dims, draw(arrays.arrays(dtype, shape, elements=values, fill=st.nothing())), {"units": unit})
        for name, unit in draw(
            st.sampled_from([{"y": "ug m-3"}, {"y": "1", "u": "K"}, {"y": "", "u": "m/s", "w": "%"}])
        ).items()
    }
    panel = xr.Dataset(variables, {"time": time, "node": nodes})
    return panel


@given(panel=panels(members=True, model_time=True), suffix=st.sampled_from([".nc", ".zarr"]))
@settings(deadline=None, max_examples=25)
def test_a_panel_comes_back_from_a_file_to_the_last_bit(panel, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"p{suffix}"
        stgate.write(panel, path)
        found = open_panel(path)
        xr.testing.assert_equal(found, panel)
        assert {n: (v.dtype, v.attrs["units"]) for n, v in found.items()} == {
            n: (v.dtype, v.attrs["units"]) for n, v in panel.items()
        }


@given(panel=panels(model_time=True), suffix=st.sampled_from([".csv", ".csv.gz", ".parquet"]), data=st.data())
@settings(deadline=None, max_examples=25)
def test_a_long_table_comes_back_with_its_rows_in_any_order(panel, suffix, data):
    frame = panel.to_dataframe().reset_index()
    frame = frame.sample(frac=1, random_state=data.draw(st.integers(0, 99)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"p{suffix}"
        frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
        found = read_tables(path, node="node")
        # text of whole numbers keeps the digits that it has, which float32 may not hold
        xr.testing.assert_equal(found.sel(node=panel["node"]).astype("float32"), panel)


@given(panel=panels(), suffix=st.sampled_from([".csv", ".parquet", ".h5"]))
@settings(deadline=None, max_examples=25)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_wide_table_comes_back(panel, suffix):
    frame = panel["y"].to_pandas()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"p{suffix}"
        if suffix == ".csv":
            frame.to_csv(path)
        elif suffix == ".parquet":
            frame.to_parquet(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # names that are no Python names
                frame.to_hdf(path, key="df", mode="w")
        xr.testing.assert_equal(read_tables(path, name="y").astype("float32"), panel[["y"]])


@given(panel=panels())
@settings(deadline=None, max_examples=20)
def test_an_array_of_time_node_channel_comes_back(panel):
    step = pd.Timedelta(panel["time"].values[1] - panel["time"].values[0])
    names = list(panel.data_vars)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.npz"
        np.savez(path, data=np.stack([panel[n] for n in names], -1))
        start = str(panel["time"].values[0])
        found = read_npz(path, names, start=start, freq=f"{int(step.total_seconds())}s")
        xr.testing.assert_equal(found.assign_coords(node=panel["node"]), panel)
