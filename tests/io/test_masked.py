"""Arrays with masks in HDF5 files, the form of AirQualityBench: a small one, read, converted, fitted, refused."""

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import stgate
from stgate.errors import PanelError, RequestError, StoreError
from stgate.io import read_masked
from stgate.io.masked import holds_masked

NAMES = ["pm25", "pm10", "co"]
ROWS = {"2021": 8760, "2022": 8760, "2024": 8784}


def make(folder, year="2021", rows=None, nodes=4, names=NAMES, seed=0, **changed):
    """Write one year: every value is there, and a third of them is masked."""
    rng = np.random.default_rng(seed)
    shape = (rows or ROWS[year], nodes, len(names or NAMES))
    held = {
        "values": rng.gamma(2.0, 10.0, shape).astype("float32"),
        "masks": rng.random(shape) > 1 / 3,
        "params": np.array(names or NAMES, dtype="S8"),
    } | changed
    path = folder / f"aq_compact_{year}.h5"
    with h5py.File(path, "w") as file:
        for name, value in held.items():
            if value is not None and (names or name != "params"):
                file.create_dataset(name, data=value, chunks=True, compression="gzip")
    return path, held


def test_years_become_one_panel_whose_values_stay_in_the_files(tmp_path):
    (second, later), (first, before) = make(tmp_path, "2022", seed=1), make(tmp_path, "2021")
    panel = read_masked([second, first])
    assert panel.sizes == {"time": 17520, "node": 4}
    assert [str(t)[:13] for t in panel["time"].values[[0, 8760, -1]]] == [
        "2021-01-01T00",
        "2022-01-01T00",
        "2022-12-31T23",
    ]
    assert list(panel) == NAMES
    for number, name in enumerate(NAMES):
        both = [np.where(h["masks"][..., number], h["values"][..., number], np.nan) for h in (before, later)]
        np.testing.assert_array_equal(panel[name], np.concatenate(both))
    second.unlink()
    part = panel["co"].isel(time=slice(8700, 8800, 7), node=[3, 1])
    with pytest.raises(StoreError):
        part.load()


@pytest.mark.parametrize(
    "key",
    [
        {"time": slice(8755, 8765)},
        {"time": slice(8765, 8755, -1)},
        {"time": slice(None, None, 1000), "node": slice(1, 3)},
        {"time": 8760, "node": 2},
        {"time": -1},
        {"node": -1},
        {"time": [3, 8761, 8759], "node": [3, 0]},
        {"time": xr.DataArray([1, 8762], dims="p"), "node": xr.DataArray([0, 3], dims="p")},
        {"time": slice(0, 0)},
    ],
    ids=str,
)
def test_a_part_is_that_of_the_whole(tmp_path, key):
    panel = read_masked([make(tmp_path, "2021")[0], make(tmp_path, "2022", seed=1)[0]])
    xr.testing.assert_equal(panel.isel(key).load(), panel.load().isel(key))


def test_the_command_of_the_card_makes_a_panel_that_a_fit_takes(tmp_path, monkeypatch, stgate_command):
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "2021", rows=400)
    table = pd.DataFrame({"location_id": [11, 12, 15, 90], "lat": [1.0, 2, 3, 4], "lon": [5.0, 6, 7, 8]})
    table["country"] = list("abcd")
    table.to_csv("selected_nodes_metadata.csv", index=False)
    code, out, err = stgate_command(
        *("data", "convert", "aq_compact_2021.h5", "--coords", "selected_nodes_metadata.csv"),
        *("--units", "pm25=ug/m3", "co=mg/m3", "--out", "aqb.zarr"),
    )
    assert code == 0, err
    assert "pm10" in out
    panel = stgate.open_panel("aqb.zarr")
    assert panel["node"].values.tolist() == [11, 12, 15, 90]
    assert panel["lon"].values.tolist() == [5, 6, 7, 8]
    assert panel["country"].values.tolist() == list("abcd")
    assert panel["co"].attrs["units"] == "mg/m3"
    fit = ("--data.targets", "[pm25,co]", "--data.window", "6", "--data.horizon", "2", "--data.calendar", "[hour]")
    code, _, err = stgate_command("fit", "--model", "Ridge", "--data.panel", "aqb.zarr", *fit, "--out", "run")
    assert code == 0, err
    assert stgate.forecast("run/best.ckpt", panel)["co"].notnull().all()


def test_names_times_and_variables_can_be_given(tmp_path):
    path, _ = make(tmp_path, "2021", rows=48, names=None)
    panel = read_masked(
        path, variables=NAMES, start="2030-05-01", freq="3h", rename={"co": "carbon"}, units={"carbon": "1"}
    )
    assert str(panel["time"].values[1])[:13] == "2030-05-01T03"
    assert list(panel) == ["pm25", "pm10", "carbon"]
    assert panel["carbon"].attrs == {"long_name": "carbon", "units": "1"}
    some = read_masked(make(tmp_path, "2021", rows=48)[0], variables=["co"])
    assert list(some) == ["co"]


@pytest.mark.parametrize(
    ("changed", "options", "said"),
    [
        ({"masks": None}, {}, "holds no arrays"),
        ({"values": np.zeros((48, 4), "f4")}, {}, r"float32 48x4; expected"),
        ({"masks": np.ones((48, 4, 2), bool)}, {}, "shaped as"),
        ({"values": np.zeros((48, 4, 3), "S3")}, {}, "expected numbers"),
        ({"params": np.array(["a", "b"], "S1")}, {}, "has 3, and 2 are named"),
        ({"params": np.array(["a", "a", "b"], "S1")}, {}, "name each"),
        ({}, {"variables": ["pm2"]}, "pm25"),
        ({}, {"units": {"x": "1"}}, "no such variable"),
        ({}, {"start": "yesterday-ish"}, "start"),
        ({}, {"coords": pd.DataFrame({"lat": [1.0]}, index=["a"])}, "1 rows, the arrays 4 nodes"),
    ],
    ids=range(10),
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, changed, options, said):
    path, _ = make(tmp_path, "2021", rows=48, **changed)
    with pytest.raises((PanelError, RequestError), match=said):
        read_masked(path, **options)


def test_infinite_values_absent_years_and_files_of_other_kinds_are_refused(tmp_path):
    first, held = make(tmp_path, "2021")
    last, _ = make(tmp_path, "2024")
    with pytest.raises(PanelError, match="time jumps from 2021-12-31T23:00"):
        read_masked([first, last])
    other, _ = make(tmp_path, "2022", nodes=5)
    with pytest.raises(PanelError, match="other nodes or variables"):
        read_masked([first, other])
    with pytest.raises(RequestError, match="of one file"):
        read_masked([first, other], start="2020-01-01")
    held["values"][7, 2, 1], held["masks"][7, 2, 1] = np.inf, True
    make(tmp_path, "2021", values=held["values"], masks=held["masks"])
    with pytest.raises(PanelError, match="infinite at row 7, node 2"):
        read_masked(first).load()
    nameless = first.rename(tmp_path / "aq.h5")
    with pytest.raises(RequestError, match="names no year"):
        read_masked(nameless)


def test_other_files_are_no_such_arrays(tmp_path):
    pd.DataFrame({"a": [1.0]}, pd.date_range("2020-01-01", periods=1)).to_hdf(tmp_path / "frame.h5", key="k")
    assert not holds_masked(tmp_path / "frame.h5")
    (tmp_path / "text.h5").write_text("no")
    for name in ("text.h5", "none.h5"):
        with pytest.raises(StoreError):
            holds_masked(tmp_path / name)
