"""The panel: what the check says about a broken one."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import make_panel, refusal, says
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.errors import PanelError
from stgate.schema.panel import check_panel, check_targets, observed_mask, parse_time, time_step


def whole(**options):
    return make_panel(steps=12, missing=0, **options)


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
    says(refusal(PanelError, check_panel, make()), *words)


def follow_the_fix(panel: xr.Dataset) -> xr.Dataset:
    """Run the code that the refusal's message gives."""
    message = refusal(PanelError, check_panel, panel)
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
    says(
        refusal(PanelError, check_panel, whole().transpose("node", "time")),
        "`y`",
        "('node', 'time')",
        "('time', 'node')",
    )
    members = whole().expand_dims(member=2).transpose("time", "node", "member")
    says(refusal(PanelError, check_panel, members), "('member', 'time', 'node')", "transpose")


@pytest.mark.parametrize("dim", ["time", "node"])
def test_a_panel_needs_each_dimension_its_labels_and_an_entry(dim):
    says(refusal(PanelError, check_panel, whole().rename({dim: "other"})), f"`{dim}`", "no such dimension", "'other'")
    says(refusal(PanelError, check_panel, whole().drop_vars(dim)), f"`{dim}`", f"assign_coords({dim}=")
    says(refusal(PanelError, check_panel, whole().isel({dim: slice(0)})), f"`{dim}`", "empty")


def test_what_is_no_dataset_or_holds_no_series_is_no_panel():
    says(refusal(PanelError, check_panel, whole()["y"]), "DataArray", "to_panel")
    static = whole().drop_vars(["y", "u"]).assign(elevation=("node", [1.0, 2.0, 3.0]))
    says(refusal(PanelError, check_panel, static), "no variable over (time, node)")


def test_a_time_that_is_none_is_named_with_its_row():
    times = whole()["time"].values.copy()
    times[4] = np.datetime64("NaT")
    says(refusal(PanelError, check_panel, whole().assign_coords(time=times)), "`time`", "row 4")


def test_times_as_text_are_refused_with_the_fix():
    text = whole()["time"].values.astype("str").astype(object)
    says(refusal(PanelError, check_panel, whole().assign_coords(time=text)), "`time`", "pandas.to_datetime")


def test_uneven_model_time_is_named_with_its_row():
    message = refusal(PanelError, check_panel, on_model_time([0, 0.1, 0.2, 0.4, 0.5]))
    says(message, "`y`", "0.2 to 0.4", "row 3", "all times lie on a step of 0.1", "panel.reindex(time=")


def test_a_drifting_model_step_is_refused_even_where_each_gap_looks_even():
    gaps = np.linspace(0.1, 0.1001, 1999)
    times = np.r_[0, np.cumsum(gaps)]  # a quarter of a step off the even grid halfway
    message = refusal(PanelError, check_panel, make_panel(steps=2000).assign_coords(time=times))
    says(message, "`y`", "times wander around a step of 0.1")


@given(step=st.floats(1e-3, 1e3), start=st.floats(-1e3, 1e3))
@settings(deadline=None, max_examples=30)
def test_round_off_in_model_time_is_not_unevenness(step, start):
    panel = on_model_time(start + np.arange(12) * step)
    check_panel(panel)
    assert time_step(panel) == pytest.approx(step, rel=1e-6)


@pytest.mark.parametrize("year", [2016, 2016.0, "2016"])
def test_a_year_may_be_read_as_a_number(year):
    assert [str(moment)[:10] for moment in parse_time(year)] == ["2016-01-01", "2016-12-31"]


def test_uneven_time_is_fine_where_it_is_asked_for():
    check_panel(whole().drop_isel(time=6), regular=False)


def test_a_node_that_is_never_observed_is_no_target():
    panel = whole()
    silent = panel.assign(y=panel["y"].where(panel["node"] != "b"))
    message = refusal(PanelError, check_targets, silent, ["y"])
    says(message, "`y`", "never observed", "'b'", "select(panel, without=['b'])")
    check_targets(silent.drop_sel(node=["b"]), ["y"])
    check_targets(silent, ["u"])


def test_a_node_seen_by_one_member_alone_is_a_target():
    panel = xr.concat([whole(), whole() * np.nan], "member").transpose("member", "time", "node")
    check_targets(panel, ["y"])


def test_an_unknown_target_is_answered_with_the_nearest_name():
    panel = whole().rename(y="pm25")
    says(refusal(PanelError, check_targets, panel, ["pm2.5"]), "`pm2.5`", "did you mean pm25?")
    says(refusal(PanelError, check_targets, panel, ["zzz"]), "known: pm25, u")


def test_the_observed_mask_is_true_where_there_is_a_value():
    panel = make_panel(steps=30)
    mask = observed_mask(panel, "y")
    assert mask.dims == panel["y"].dims
    np.testing.assert_array_equal(mask.values, np.isfinite(panel["y"].values))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8"])
def test_floats_of_every_width_that_tensors_have_are_taken(dtype):
    check_panel(whole().pipe(lambda panel: panel.assign(u=panel["u"].astype(dtype))))


@pytest.mark.skipif(np.dtype("longdouble").itemsize == 8, reason="no wider floats here")
def test_wider_floats_are_refused_and_the_mend_is_taken():
    panel = whole().pipe(lambda panel: panel.assign(u=panel["u"].astype("longdouble")))
    line = refusal(PanelError, check_panel, panel)
    says(line, "`u`", "wider than float64")
    check_panel(eval(line.split("cast it with ")[1], {"panel": panel}))


@pytest.mark.parametrize(
    ("labels", "row"),
    [
        ([1.5, np.nan, 2.5], 1),
        ([np.nan, np.nan, 2.5], 0),
        (np.array(["a", None, "b"], object), 1),
        (np.array(["a", "b", float("nan")], object), 2),
        (np.array([0, 1, "NaT"], "M8[ns]"), 2),
    ],
)
def test_a_node_without_a_label_is_refused_and_the_advice_is_right(labels, row):
    panel = whole().assign_coords(node=labels)
    with pytest.raises(PanelError, match=f"`node`: the label of row {row} is missing") as caught:
        check_panel(panel)
    advice = eval(str(caught.value).rpartition("values: ")[2], {"panel": panel})
    assert advice.sizes["node"] == panel["node"].notnull().sum() and advice["node"].notnull().all()


@pytest.mark.parametrize("year", ["-0100", "0000", "10000", "12000"])
@pytest.mark.parametrize("unit", ["s", "h", "us"])
def test_years_that_no_file_holds_are_refused_and_the_advice_keeps_the_steps(year, unit):
    times = np.datetime64(f"{year}-03-01", unit) + np.arange(12) * np.timedelta64(6, "h")
    panel = whole().assign_coords(time=times)
    message = refusal(PanelError, check_panel, panel)
    says(message, "lies outside of the years 1 to 9999")
    mended = eval(message.split(" with ")[1], {"panel": panel, "pandas": pd})
    check_panel(mended)
    assert mended["time"].values.tolist() == [6.0 * i for i in range(12)]


@pytest.mark.parametrize("year", ["0001", "1500", "9999"])
def test_years_that_files_hold_are_none_of_these(year):
    check_panel(
        whole().assign_coords(time=np.datetime64(f"{year}-03-01", "s") + np.arange(12) * np.timedelta64(6, "h"))
    )
