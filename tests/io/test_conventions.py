"""Conventions of files: names of the time, single levels, valid ranges and flags."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import make_panel

from stgate.data import WindowData
from stgate.errors import PanelError, PanelWarning, StoreError
from stgate.io import open_panel
from stgate.io.store import write
from stgate.schema.panel import check_panel

TIMES = pd.date_range("2024", periods=6, freq="h")


def lattice(time="time", **coords):
    values = np.arange(24, dtype="float32").reshape(6, 2, 2)
    return xr.Dataset(
        {"q": ((time, "lat", "lon"), values)}, {time: TIMES, "lat": [51.0, 50.0], "lon": [7.0, 8.0], **coords}
    )


@pytest.mark.parametrize("name", ["valid_time", "Time", "TIME", "t", "date", "datetime"])
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_the_time_may_have_another_name(name, suffix, tmp_path):
    write(lattice(name), tmp_path / f"l{suffix}")
    panel = open_panel(tmp_path / f"l{suffix}")
    assert (panel["time"].values == TIMES).all() and panel["q"].dims == ("time", "node")
    cells = make_panel(steps=6).rename(time=name)
    write(cells, tmp_path / f"p{suffix}")
    assert open_panel(tmp_path / f"p{suffix}").sizes["time"] == 6


def test_files_of_the_climate_store_as_they_come(tmp_path):
    data = lattice("valid_time", number=0, expver=("valid_time", ["0001"] * 6))
    write(data, tmp_path / "era5.nc")
    assert open_panel(tmp_path / "era5.nc")["q"].shape == (6, 4)


def test_steps_of_a_run_become_their_valid_times(tmp_path):
    data = lattice().rename(time="step").assign_coords(step=np.arange(6.0), time=TIMES[0])
    write(data.assign_coords(valid_time=("step", TIMES)), tmp_path / "grib.nc")
    panel = open_panel(tmp_path / "grib.nc")
    assert (panel["time"].values == TIMES).all() and panel["init_time"].values == TIMES[0]


def test_a_single_level_is_no_dimension_and_several_are_refused(tmp_path):
    write(lattice().expand_dims(level=[850.0], axis=1), tmp_path / "one.nc")
    assert open_panel(tmp_path / "one.nc")["q"].dims == ("time", "node")
    write(xr.concat([lattice()] * 2, dim="level"), tmp_path / "two.nc")
    with pytest.raises(PanelError, match=r"'level' of size 2; make a variable for each") as refused:
        open_panel(tmp_path / "two.nc")
    assert "rename it" not in str(refused.value)  # it has a time


RANGES = {
    "range": ({"valid_range": [0.0, 20.0]}, {}),
    "integers on floats": ({"valid_range": [0, 20]}, {}),
    "smallest and largest": ({"valid_min": 0.0, "valid_max": 20.0}, {}),
    "packed": ({"valid_range": np.array([0, 200], "int16")}, {"dtype": "int16", "scale_factor": 0.1}),
    "packed, downwards": ({"valid_range": np.array([-200, 0], "int16")}, {"dtype": "int16", "scale_factor": -0.1}),
    "unpacked on packed": ({"valid_range": np.array([0.0, 20.0])}, {"dtype": "int16", "scale_factor": 0.1}),
}


@pytest.mark.parametrize("kind", RANGES)
def test_values_outside_of_a_valid_range_are_missing_with_a_warning(kind, tmp_path):
    attrs, encoding = RANGES[kind]
    data = lattice()
    data["q"][1, 1, 1] = -100.0  # and 21, 22 and 23 are above the range, 20 is not
    data["q"].attrs = attrs
    data.to_netcdf(tmp_path / "v.nc", encoding={"q": encoding | ({"_FillValue": -32768} if encoding else {})})
    with pytest.warns(
        PanelWarning, match=r"`q`: 4 of its values, outside its valid range (0 to 20|-0.05 to 20.05), are"
    ):
        panel = open_panel(tmp_path / "v.nc")
    assert int(panel["q"].isnull().sum()) == 4 and float(panel["q"].max()) == pytest.approx(20.0)
    write(panel, tmp_path / "again.nc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is masked already is not told again
        assert int(open_panel(tmp_path / "again.nc")["q"].isnull().sum()) == 4


@pytest.mark.parametrize(
    ("mark", "declared"),
    [
        (1e20, 1e20),  # float64, which differs from its float32
        (-9999.9, -9999.9),
        (-9999, "-9999"),
        (-9999, np.int16(-9999)),
        (-999.99, [-888.0, -999.99]),
    ],
)
def test_marks_that_are_declared_in_another_type_are_missing(mark, declared, tmp_path):
    data = lattice()
    data["q"][1, 1, 1] = mark
    data["q"].attrs["missing_value"] = declared
    data.to_netcdf(tmp_path / "v.nc")
    panel = open_panel(tmp_path / "v.nc")
    assert int(panel["q"].isnull().sum()) == 1 and float(panel["q"].max()) == 23


@pytest.mark.parametrize("raw", [-32768, -32767, 32767])
def test_limits_of_packed_integers_far_from_all_others_are_missing_with_a_warning(raw, tmp_path):
    data = lattice()
    data["q"] = data["q"].astype("int16").where(data["q"] != 23, raw).astype("int16")
    data["q"].attrs = {"scale_factor": 0.01, "add_offset": 280.0}
    data.to_netcdf(tmp_path / "v.nc")
    with pytest.warns(PanelWarning, match="1 of its values, the limits of packed int16, are missing"):
        panel = open_panel(tmp_path / "v.nc")
    assert int(panel["q"].isnull().sum()) == 1 and float(panel["q"].max()) == pytest.approx(280.22)


@pytest.mark.parametrize("shape", [1, 40])
def test_packed_values_that_use_all_integers_are_values(shape, tmp_path):
    data = lattice()
    data["q"] = ((data["q"] / 23) ** shape * 65535 - 32768).astype("int16")
    data["q"].attrs = {"scale_factor": 0.01, "add_offset": 280.0}
    data.to_netcdf(tmp_path / "v.nc")
    assert int(open_panel(tmp_path / "v.nc")["q"].isnull().sum()) == 0


def test_a_valid_range_of_unsigned_bytes_is_written_in_signed_ones(tmp_path):
    data = lattice()
    data["q"] = (data["q"] * 10).astype("int64").astype("uint8").astype("int8")  # 230 is -26
    data["q"].attrs = {"_Unsigned": "true", "_FillValue": np.int8(-1), "valid_range": np.array([0, -56], "int8")}
    data.to_netcdf(tmp_path / "v.nc")
    with pytest.warns(PanelWarning, match="3 of its values, outside its valid range 0 to 200"):
        panel = open_panel(tmp_path / "v.nc")
    assert float(panel["q"].max()) == 200


@pytest.mark.parametrize("attr", [["a", "b"], [1.0], [5.0, 1.0], [np.nan, 1.0]])
def test_a_valid_range_that_is_none_is_refused(attr, tmp_path):
    data = lattice()
    data["q"].attrs["valid_range"] = attr
    data.to_netcdf(tmp_path / "v.nc")
    with pytest.raises(PanelError, match=r"`q`: its 'valid_range'.*correct or remove it"):
        open_panel(tmp_path / "v.nc")


def test_a_range_without_any_value_is_refused(tmp_path):
    data = lattice()
    data["q"].attrs["valid_range"] = [100.0, 200.0]
    data.to_netcdf(tmp_path / "v.nc")
    with pytest.raises(PanelError, match="no value lies within its valid range"):
        open_panel(tmp_path / "v.nc")


def test_flags_are_no_numbers(tmp_path):
    data = lattice()
    flags = xr.zeros_like(data["q"]).assign_attrs(flag_values=[0.0, 1.0], flag_meanings="good bad")
    data.assign(quality=flags).to_netcdf(tmp_path / "v.nc")
    with pytest.warns(PanelWarning, match="`quality`: holds flags"):
        assert list(open_panel(tmp_path / "v.nc").data_vars) == ["q"]


def test_panels_larger_than_memory_have_the_same_values(tmp_path):
    panel = make_panel(steps=60, missing=0)
    panel["y"].attrs["valid_range"] = np.quantile(panel["y"], [0.1, 0.9])
    write(panel, tmp_path / "p.zarr")
    options = {"targets": "y", "window": 4, "horizon": 2}
    lazy = WindowData(tmp_path / "p.zarr", max_memory=1e-3, **options)
    with pytest.warns(PanelWarning, match="valid range"):
        whole = WindowData(tmp_path / "p.zarr", **options)
        whole.setup()
    got, wanted = lazy.series.read(0, 60), whole.series.read(0, 60)
    np.testing.assert_array_equal(got.numpy(), wanted.numpy())


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.assign(holiday=("time", np.zeros(p.sizes["time"], "float32"))),
        lambda p: p.assign(y=p["y"].transpose("node", "time"), u=p["u"]),
    ],
)
def test_the_printed_mend_of_other_dims_keeps_every_value(change):
    panel = change(make_panel(missing=0))
    with pytest.raises(PanelError) as refused:
        check_panel(panel)
    mended = eval(str(refused.value).rsplit("with ", 1)[-1].rsplit("use ", 1)[-1], {}, {"panel": panel})
    check_panel(mended)
    for name in panel.data_vars:
        assert float(mended[name].mean()) == pytest.approx(float(panel[name].mean()))


@pytest.mark.parametrize(
    ("first", "step", "units"),
    [
        (20240130, 1, ""),
        (20240130.0, 0.25, "day as %Y%m%d.%f"),
        (20240130, 1, "days as %Y%m%d"),
        (20240130, 1, "YYYYMMDD"),
        (1704067200, 3600, ""),
        (1704067200000, 3600000, ""),
    ],
)
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_times_of_files_that_are_dates_as_numbers_are_refused_and_the_advice_makes_dates(
    first, step, units, suffix, tmp_path
):
    counted = first + step * np.arange(2)
    data = lattice().isel(time=slice(2)).assign_coords(time=("time", counted, {"units": units} if units else {}))
    if suffix == ".nc":
        data.to_netcdf(tmp_path / "v.nc")
    else:
        data.to_zarr(tmp_path / "v.zarr", consolidated=False)
    with pytest.raises(PanelError, match=r"`time` holds numbers such as .* make dates of them with") as refused:
        open_panel(tmp_path / f"v{suffix}")
    made = eval(str(refused.value).split(" with ")[1], {"pandas": pd, "dataset": data})
    times = made.indexes["time"]
    wanted = pd.Timestamp("2024-01-30" if first < 1e9 else "2024-01-01")
    assert times[0] == wanted and times[1] - wanted == pd.Timedelta(step * 24 if first < 1e9 else 1, unit="h")


@pytest.mark.parametrize("units", ["s", "days", "model time units"])
def test_model_time_with_a_unit_is_none_of_these(units, tmp_path):
    times = ("time", 20240130.0 + np.arange(6), {"units": units})
    lattice().assign_coords(time=times).to_netcdf(tmp_path / "v.nc")
    assert open_panel(tmp_path / "v.nc")["time"].values[0] == 20240130.0


@pytest.mark.parametrize("first", [20240130.0, 200001, 1704067200, 0.0])
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_files_of_ours_read_back_whatever_their_model_time_is(first, suffix, tmp_path):
    panel = make_panel(steps=6).assign_coords(time=first + np.arange(6))
    made = open_panel(write(panel, tmp_path / f"p{suffix}"))
    xr.testing.assert_identical(made, panel)
    assert (open_panel(write(made, tmp_path / f"again{suffix}"))["time"] == panel["time"]).all()


@pytest.mark.parametrize("units", ["months since 2000-01-01", "fortnights since 2000-01-01", "days since 0000-01-01"])
def test_units_of_dates_that_are_not_read_are_named_with_the_way_out(units, tmp_path):
    data = lattice().assign_coords(time=("time", np.arange(6.0), {"units": units}))
    data.to_netcdf(tmp_path / "v.nc")
    with pytest.raises(StoreError, match=f"v.nc: dates of '{units}' with .*decode_times=False, and write dates"):
        open_panel(tmp_path / "v.nc")


@pytest.mark.parametrize("mark", ["-88", "-88.0", "-88s"])
def test_marks_of_packed_integers_as_text(mark, tmp_path):
    data = lattice()
    data["q"] = data["q"].astype("int16").where(data["q"] != 23, -88).astype("int16")
    data["q"].attrs = {"scale_factor": 0.5, "add_offset": 10.0, "missing_value": mark}
    data.to_netcdf(tmp_path / "v.nc")
    panel = open_panel(tmp_path / "v.nc")
    assert int(panel["q"].isnull().sum()) == (not mark.endswith("s")) and float(panel["q"].max()) == 21.0


def test_a_file_of_groups_alone_is_told_how_they_are_opened(tmp_path):
    lattice().to_netcdf(tmp_path / "v.nc", group="product")
    with pytest.raises(PanelError, match=r"no such dimension; it has none; a group .*group=\.\.\."):
        open_panel(tmp_path / "v.nc")
