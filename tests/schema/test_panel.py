"""The panel: what the check says about a broken one, what a forecaster remembers of it, how frames become one."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import make_panel
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stgate.errors import PanelError, StgateError
from stgate.io.frames import to_panel
from stgate.schema.panel import check_panel, check_targets, observed_mask, time_step
from stgate.schema.spec import PanelSpec


def whole(**options):
    return make_panel(steps=12, missing=0, **options)


def refusal(work, *arguments, **options) -> str:
    with pytest.raises(PanelError) as caught:
        work(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def says(message: str, *words: str) -> None:
    assert not [w for w in words if w not in message], message


def with_value(value, dtype="float32"):
    broken = whole()
    values = broken["u"].values.astype(dtype)
    values[5, 1] = value
    return broken.assign(u=(("time", "node"), values))


def on_model_time(times) -> xr.Dataset:
    return whole().isel(time=slice(len(times))).assign_coords(time=np.asarray(times, "float64"))


BROKEN = {
    "missing hour": (lambda: whole().drop_isel(time=6), ("`y`", "2020-01-01T05:00 to 2020-01-01T07:00", "row 6")),
    "time twice": (
        lambda: whole().isel(time=[0, 1, 2, 2, 3]),
        ("`y`", "2020-01-01T02:00 appears twice", "rows 2 and 3"),
    ),
    "time back": (lambda: whole().isel(time=[0, 1, 3, 2, 4]), ("`y`", "back to 2020-01-01T02:00", "row 3")),
    "infinite": (lambda: with_value(np.inf), ("`u`", "infinite", "time 2020-01-01T05:00", "node b")),
    "minus infinite": (lambda: with_value(-np.inf), ("`u`", "infinite", "time 2020-01-01T05:00", "node b")),
    "text": (lambda: with_value("NW", "object"), ("`u`", "text ('NW')")),
    "counts": (lambda: with_value(3, "int64"), ("`u`", "int64")),
    "node twice": (lambda: whole().isel(node=[0, 1, 1]), ("`node`", "'b' appears twice")),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_panel_is_named_with_its_place(broken):
    make, words = BROKEN[broken]
    says(refusal(check_panel, make()), *words)


def follow_the_fix(panel: xr.Dataset) -> xr.Dataset:
    """Run the code that the refusal's message gives."""
    message = refusal(check_panel, panel)
    code = re.search(r"(panel[.\[].*?\))(?= to make|$)", message)
    assert code, f"no fix in: {message}"
    name = re.match(r"`(\w+)`", message)[1]
    fixed = eval(code[1], {"panel": panel, "pandas": pd, "pd": pd, "numpy": np, "np": np})
    return panel.assign({name: fixed}) if isinstance(fixed, xr.DataArray) else fixed


@pytest.mark.parametrize("broken", BROKEN)
def test_the_fix_fixes(broken):
    check_panel(follow_the_fix(BROKEN[broken][0]()))


@pytest.mark.parametrize("extra", ["members", "node variable"])
def test_the_fix_of_a_gap_keeps_the_panel_as_it_is_elsewhere(extra):
    panel = whole()
    if extra == "members":
        panel = xr.concat([panel, panel + 1], "member").transpose("member", "time", "node")
    else:
        panel = panel.assign(elevation=("node", [1.0, 2.0, 3.0]))
    gap = panel.drop_isel(time=6)
    fixed = follow_the_fix(gap)
    check_panel(fixed)
    xr.testing.assert_equal(fixed, gap.reindex(time=panel["time"]))


def test_a_whole_panel_passes_silently():
    check_panel(whole())
    check_panel(make_panel())
    check_panel(whole().isel(time=[0]))


def test_wrong_dims_are_named_with_those_wanted():
    says(refusal(check_panel, whole().transpose("node", "time")), "`y`", "('node', 'time')", "('time', 'node')")
    members = whole().expand_dims(member=2).transpose("time", "node", "member")
    says(refusal(check_panel, members), "('member', 'time', 'node')", "transpose")


@pytest.mark.parametrize("dim", ["time", "node"])
def test_a_panel_needs_each_dimension_its_labels_and_an_entry(dim):
    says(refusal(check_panel, whole().rename({dim: "other"})), f"`{dim}`", "no such dimension", "'other'")
    says(refusal(check_panel, whole().drop_vars(dim)), f"`{dim}`", f"assign_coords({dim}=")
    says(refusal(check_panel, whole().isel({dim: slice(0)})), f"`{dim}`", "empty")


def test_what_is_no_dataset_or_holds_no_series_is_no_panel():
    says(refusal(check_panel, whole()["y"]), "DataArray", "to_panel")
    static = whole().drop_vars(["y", "u"]).assign(elevation=("node", [1.0, 2.0, 3.0]))
    says(refusal(check_panel, static), "no variable over (time, node)")


def test_a_time_that_is_none_is_named_with_its_row():
    times = whole()["time"].values.copy()
    times[4] = np.datetime64("NaT")
    says(refusal(check_panel, whole().assign_coords(time=times)), "`time`", "row 4")


def test_times_as_text_are_refused_with_the_fix():
    text = whole()["time"].values.astype("str").astype(object)
    says(refusal(check_panel, whole().assign_coords(time=text)), "`time`", "pandas.to_datetime")


def test_uneven_model_time_is_named_with_its_row():
    says(refusal(check_panel, on_model_time([0, 0.1, 0.2, 0.4, 0.5])), "`y`", "0.2 to 0.4", "row 3", "interp")


def test_a_drifting_model_step_is_refused_even_where_each_gap_looks_even():
    gaps = np.linspace(0.1, 0.1001, 1999)
    times = np.r_[0, np.cumsum(gaps)]  # a quarter of a step off the even grid halfway
    says(refusal(check_panel, make_panel(steps=2000).assign_coords(time=times)), "`y`", "interp")


@given(step=st.floats(1e-3, 1e3), start=st.floats(-1e3, 1e3))
@settings(deadline=None, max_examples=30)
def test_round_off_in_model_time_is_not_unevenness(step, start):
    panel = on_model_time(start + np.arange(12) * step)
    check_panel(panel)
    assert time_step(panel) == pytest.approx(step, rel=1e-6)


def test_uneven_time_is_fine_where_it_is_asked_for():
    check_panel(whole().drop_isel(time=6), regular=False)


def test_a_node_that_is_never_observed_is_no_target():
    panel = whole()
    silent = panel.assign(y=panel["y"].where(panel["node"] != "b"))
    message = refusal(check_targets, silent, ["y"])
    says(message, "`y`", "never observed", "'b'", "select(panel, without=['b'])")
    check_targets(silent.drop_sel(node=["b"]), ["y"])
    check_targets(silent, ["u"])


def test_a_node_seen_by_one_member_alone_is_a_target():
    panel = xr.concat([whole(), whole() * np.nan], "member").transpose("member", "time", "node")
    check_targets(panel, ["y"])


def test_an_unknown_target_is_answered_with_the_nearest_name():
    panel = whole().rename(y="pm25")
    says(refusal(check_targets, panel, ["pm2.5"]), "`pm2.5`", "did you mean pm25?")
    says(refusal(check_targets, panel, ["zzz"]), "known: pm25, u")


def make_spec(panel: xr.Dataset, **changes) -> PanelSpec:
    spec = PanelSpec(
        targets=("y",),
        nodes=tuple(panel["node"].values.tolist()),
        step=3600.0,
        time="calendar",
        window=4,
        horizon=2,
        future_covariates=("u",),
        static_covariates=("lat", "lon"),
        calendar=("hour",),
        units={"y": "ug/m3"},
    )
    return dataclasses.replace(spec, **changes)


@pytest.mark.parametrize("nodes", [("a", "b", "c"), (7, 8, 9)])
def test_a_spec_survives_json(nodes):
    spec = make_spec(whole(), nodes=nodes)
    assert PanelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_spec_knows_its_channels_and_its_step():
    spec = make_spec(whole(), past_covariates=("w",))
    assert spec.channels == ("y", "w", "u")
    assert spec.time_step == np.timedelta64(1, "h")
    assert make_spec(whole(), time="model", step=0.05).time_step == 0.05


def test_a_panel_with_other_nodes_is_refused_with_their_names():
    spec = make_spec(whole())
    says(refusal(spec.check, whole().isel(node=[0, 2])), "`node`", "lacks 'b'")
    other = whole().assign_coords(node=["a", "b", "d"])
    says(refusal(spec.check, other), "lacks 'c'", "has unknown 'd'", "sel(node=")


def test_permuted_nodes_are_put_in_the_order_of_the_spec():
    panel, spec = whole(), make_spec(whole())
    xr.testing.assert_identical(spec.check(panel.isel(node=[2, 0, 1])), panel)


def test_another_step_or_another_kind_of_time_is_refused():
    spec = make_spec(whole())
    message = refusal(spec.check, whole().isel(time=slice(None, None, 2)))
    says(message, "`time`", "step is 2h", "steps of", "resample")
    says(refusal(spec.check, whole().assign_coords(time=np.arange(12.0))), "model time", "calendar time")
    model = make_spec(whole(), time="model", step=0.1)
    says(refusal(model.check, on_model_time(np.arange(12) * 0.2)), "0.2", "0.1")


def test_a_missing_variable_is_refused_with_the_nearest_name():
    says(refusal(make_spec(whole()).check, whole().rename(u="uu")), "`u`", "did you mean uu?")


def test_a_panel_of_a_single_time_is_refused_by_a_spec_in_one_line():
    says(refusal(make_spec(whole()).check, whole().isel(time=[0])), "`time`")


def test_the_observed_mask_is_true_where_there_is_a_value():
    panel = make_panel(steps=30)
    mask = observed_mask(panel, "y")
    assert mask.dims == panel["y"].dims
    np.testing.assert_array_equal(mask.values, np.isfinite(panel["y"].values))


def wide_frame(steps=5, **options) -> pd.DataFrame:
    time = pd.date_range("2020-01-01", periods=steps, freq="h", **options)
    return pd.DataFrame(np.arange(2.0 * steps).reshape(steps, 2), index=time, columns=["a", "b"])


def long_frame(wide: pd.DataFrame, name="y") -> pd.DataFrame:
    return wide.rename_axis("when").reset_index().melt(id_vars="when", var_name="site", value_name=name)


def test_wide_and_long_frames_give_the_same_panel():
    wide = wide_frame()
    long = long_frame(wide).sample(frac=1, random_state=0)
    xr.testing.assert_identical(to_panel(wide, name="y"), to_panel(long, time="when", node="site"))


def test_times_with_a_zone_become_utc():
    panel = to_panel(wide_frame(tz="Asia/Shanghai"), name="y")
    assert panel["time"].values[0] == np.datetime64("2019-12-31T16:00")
    assert to_panel(long_frame(wide_frame(tz="Asia/Shanghai")), time="when", node="site").equals(panel)


def test_with_a_frequency_absent_rows_become_missing_values():
    wide = wide_frame()
    panel = to_panel(wide.drop(wide.index[2]), name="y", freq="h")
    assert panel["y"].dims == ("time", "node")
    np.testing.assert_array_equal(panel["y"].values, wide.drop(wide.index[2]).reindex(wide.index).values)
    says(refusal(to_panel, wide.drop(wide.index[2]), name="y"), "row 2")


def test_a_frequency_neither_moves_nor_averages_observations():
    wide = wide_frame()
    late = wide.set_axis(wide.index + pd.Timedelta("30min"))
    message = refusal(to_panel, pd.concat([wide, late]).sort_index(), name="y", freq="h")
    says(message, "2020-01-01T00:30")


@pytest.mark.parametrize("freq", ["H", "hourly"])
def test_an_unknown_frequency_is_an_error_of_ours(freq):
    with pytest.raises(StgateError, match=freq):
        to_panel(wide_frame(), name="y", freq=freq)


def test_a_frequency_is_no_matter_of_model_time():
    with pytest.raises(StgateError):
        to_panel(wide_frame().set_axis(np.arange(5.0)), name="y", freq="h")


def test_coordinates_and_units_land_on_the_panel():
    coords = pd.DataFrame({"lat": [41.0, 40.0], "lon": [117.0, 116.0], "name": ["B", "A"]}, index=["b", "a"])
    panel = to_panel(wide_frame(), name="y", coords=coords, units={"y": "K"})
    assert panel["lat"].values.tolist() == [40.0, 41.0] and panel["lat"].attrs["units"] == "degrees_north"
    assert panel["y"].attrs["units"] == "K" and panel["y"].dtype == np.float32
    says(refusal(to_panel, wide_frame(), name="y", coords=coords.loc[["a"]]), "`node`", "'b'")
    says(refusal(to_panel, wide_frame(), name="y", units={"yy": "K"}), "'yy'", "did you mean y?")


def test_text_in_a_wide_frame_is_refused_with_node_and_time():
    wide = wide_frame().astype(object)
    wide.iloc[3, 1] = "n/k"
    says(refusal(to_panel, wide, name="y"), "'b'", "'n/k'", "2020-01-01T03:00")


def test_text_in_a_long_frame_is_refused_with_variable_node_and_time():
    long = long_frame(wide_frame(), "wind").astype({"wind": object})
    long.loc[(long["site"] == "b") & (long["when"] == "2020-01-01T03"), "wind"] = "NW"
    message = refusal(to_panel, long, time="when", node="site")
    says(message, "'NW'", "2020-01-01T03:00", "wind")


def test_numbers_written_as_text_are_numbers():
    assert to_panel(wide_frame().astype(str), name="y").equals(to_panel(wide_frame(), name="y"))


def test_a_row_that_stands_twice_is_named_with_time_and_node():
    long = long_frame(wide_frame())
    says(refusal(to_panel, pd.concat([long, long.iloc[[7]]]), time="when", node="site"), "2020-01-01T02:00", "'b'")


def test_a_column_that_stands_twice_is_named():
    wide = wide_frame().set_axis(["a", "a"], axis=1)
    says(refusal(to_panel, wide, name="y"), "'a'", "twice")


def test_a_row_without_a_node_is_refused():
    long = long_frame(wide_frame())
    with pytest.raises(StgateError):
        to_panel(long.assign(site=long["site"].where(long.index != 3)), time="when", node="site")


def test_a_long_frame_without_variables_is_refused():
    with pytest.raises(StgateError):
        to_panel(long_frame(wide_frame())[["when", "site"]], time="when", node="site")


def test_a_frame_of_unsaid_layout_is_refused():
    says(refusal(to_panel, wide_frame()), "name=", "node=")


tables = st.tuples(st.integers(2, 6), st.integers(1, 4)).flatmap(
    lambda shape: arrays("float32", shape, elements=st.floats(width=32, allow_infinity=False))
)


@given(values=tables)
@settings(deadline=None, max_examples=40)
def test_any_wide_frame_keeps_its_values_and_its_gaps(values):
    time = pd.date_range("2020-01-01", periods=len(values), freq="D")
    panel = to_panel(pd.DataFrame(values, index=time, columns=[f"n{i}" for i in range(values.shape[1])]), name="y")
    np.testing.assert_array_equal(panel["y"].values, values)


@given(values=tables, data=st.data())
@settings(deadline=None, max_examples=40)
def test_any_long_frame_keeps_its_values_and_its_absent_rows_are_gaps(values, data):
    keep = data.draw(arrays(bool, values.shape))
    keep[:, 0] = keep[0, :] = True  # each time and each node stands somewhere
    rows, nodes = np.nonzero(keep)
    order = np.asarray(data.draw(st.permutations(range(len(rows)))))
    frame = pd.DataFrame({"time": rows * 0.5, "node": nodes, "y": values[rows, nodes], "z": 1.0}).iloc[order]
    panel = to_panel(frame, time="time", node="node")
    np.testing.assert_array_equal(panel["y"].values, np.where(keep, values, np.nan))
    np.testing.assert_array_equal(panel["z"].notnull().values, keep)
