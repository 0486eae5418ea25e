"""Advice that is printed: its code ends the refusals of what it was printed for, and keeps every value."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import refusal, says

from stgate.errors import PanelError
from stgate.schema.fills import check_marks
from stgate.schema.panel import check_panel, check_seen, time_kind

RNG = np.random.default_rng(0)


def on(times, members=0) -> xr.Dataset:
    """A panel of two nodes, whose values are all different, and a variable of the nodes."""
    dims, shape = ("time", "node"), (len(times), 2)
    if members:
        dims, shape = ("member", *dims), (members, *shape)
    values = 1.0 + np.arange(np.prod(shape), dtype="float64").reshape(shape)
    panel = xr.Dataset({"y": (dims, values, {"units": "K"}), "elevation": ("node", [-1.0, -2.0])})
    return panel.assign_coords(time=np.asarray(times), node=["a", "b"], lat=("node", [50.0, 51.0]))


def mended(panel: xr.Dataset) -> xr.Dataset:
    """Run the code that the refusals print, at most three times."""
    for _ in range(3):
        try:
            check_panel(panel)
            return panel
        except PanelError as error:
            assert "\n" not in str(error)
            code = re.search(r"with (panel\.\w+\(.*\))$", str(error))
            assert code, f"no code in: {error}"
            panel = eval(code[1], {"pandas": pd}, {"panel": panel})  # as in a function
    check_panel(panel)
    return panel


def numbers(panel: xr.Dataset) -> Counter:
    arrays = [v.values.astype("float64").ravel() for v in panel.data_vars.values() if v.dtype.kind in "fiub"]
    return Counter(x for x in np.concatenate(arrays).tolist() if np.isfinite(x))


def jitter(times, most: str):
    most = pd.Timedelta(most)
    return times + pd.to_timedelta(RNG.uniform(-1, 1, len(times)) * most.total_seconds(), unit="s").round("ms")


def days(*of_month: int, years=3) -> pd.DatetimeIndex:
    """Days of all months."""
    first = pd.date_range("2001-01-01", periods=12 * years, freq="MS")
    return pd.DatetimeIndex([m + pd.Timedelta(d - 1, unit="D") for m in first for d in of_month])


def composites(length: int, start=1, years=4) -> pd.DatetimeIndex:
    """Dates each so many days from each 1 January."""
    found = [pd.date_range(f"{y}-01-01", f"{y}-12-31", freq=f"{length}D") for y in range(2001, 2001 + years)]
    return pd.DatetimeIndex(np.concatenate([d + pd.Timedelta(start - 1, unit="D") for d in found]))


HOURS = pd.date_range("2021-03-01", periods=300, freq="h")
MONTHS = pd.date_range("2001-01-01", periods=48, freq="MS")
DATES = {
    "months with gaps": MONTHS.delete([4, 5, 20]),
    "ends of months with gaps": pd.date_range("2001-01-31", periods=48, freq="ME").delete([4, 5]),
    "fifteenths with gaps": (MONTHS + pd.Timedelta("14D")).delete(7),
    "months at noon with gaps": (MONTHS + pd.Timedelta("12h")).delete(7),
    "months that wander by days": MONTHS + pd.to_timedelta(RNG.integers(0, 20, 48), unit="D"),
    "months of the past": MONTHS.as_unit("s") - pd.Timedelta(365_250, unit="D"),
    "last business days": pd.date_range("2001-01-01", periods=30, freq="BME"),
    "quarters with gaps": pd.date_range("2001-01-01", periods=40, freq="QS").delete([3, 9]),
    "ends of quarters with gaps": pd.date_range("2001-01-01", periods=40, freq="QE").delete([3]),
    "quarters of February": pd.date_range("2001-01-01", periods=40, freq="QS-FEB").delete([3]),
    "business quarters": pd.date_range("2001-01-01", periods=40, freq="BQE"),
    "half years with gaps": pd.date_range("2001-01-01", periods=40, freq="6MS").delete([3]),
    "years with gaps": pd.date_range("1901-01-01", periods=40, freq="YS").delete([3, 4]),
    "ends of years with gaps": pd.date_range("1901-01-01", periods=40, freq="YE").delete([3, 4]),
    "water years with gaps": pd.date_range("1901-01-01", periods=40, freq="YS-OCT").delete([3]),
    "middles of years with gaps": pd.date_range("1901-01-01", periods=40, freq="YS").delete([3]) + pd.Timedelta("182D"),
    "dekads": days(1, 11, 21),
    "dekads with gaps": days(1, 11, 21).delete([5, 6, 40]),
    "ends of dekads": days(10, 20).append(pd.date_range("2001-01-31", periods=36, freq="ME")).sort_values(),
    "middles of dekads": days(5, 15, 25),
    "dekads at six": days(1, 11, 21, years=2) + pd.Timedelta("6h"),
    "pentads": days(1, 6, 11, 16, 21, 26),
    "quarters of months": days(1, 8, 15, 22),
    "half months": pd.date_range("2001-01-01", periods=60, freq="SMS"),
    "ends of half months": pd.date_range("2001-01-01", periods=60, freq="SME"),
    "halves from 1 and 16": days(1, 16),
    "8-day composites": composites(8),
    "8-day composites with gaps": composites(8).delete([3, 4, 60]),
    "8-day composites, half of them": composites(8)[RNG.random(len(composites(8))) > 0.5],
    "half of the half months": pd.date_range("2001-01-01", periods=90, freq="SME")[RNG.random(90) > 0.5],
    "8-day composites, their middles": composites(8, start=5)[:-1],
    "8-day composites of summers": composites(8)[(composites(8).month > 4) & (composites(8).month < 10)],
    "16-day composites": composites(16),
    "10 days of years": composites(10),
    "weeks of years": composites(7),
    "seconds around hours": jitter(HOURS, "20s"),
    "seconds around hours with gaps": jitter(HOURS, "20s").delete([7, 8, 100]),
    "25 minutes around hours": jitter(HOURS, "25min"),
    "minutes around days": jitter(pd.date_range("2021-01-01", periods=90), "7min"),
    "minutes around one, seven, ...": jitter(pd.date_range("2021-01-01T01:00", periods=90, freq="6h"), "7min"),
    "minutes around half past": jitter(HOURS + pd.Timedelta("30min"), "5min"),
    "minutes around 07:45 and 19:45": jitter(pd.date_range("2021-01-01T07:45", periods=90, freq="12h"), "3min"),
    "milliseconds around seconds": jitter(pd.date_range("2021-01-01", periods=300, freq="s"), "40ms"),
    "minutes around weeks": jitter(pd.date_range("2021-01-03", periods=60, freq="7D"), "5min"),
    "hours around noon": jitter(pd.date_range("2021-01-01T12:00", periods=90), "5h"),
    "local midnights": pd.date_range("2021-01-01", periods=400, tz="Europe/Berlin").tz_convert("UTC").tz_localize(None),
    "local noons": (
        pd.date_range("2021-01-01T12:00", periods=400, tz="America/New_York").tz_convert("UTC").tz_localize(None)
    ),
    "business days": pd.date_range("2001-01-01", periods=60, freq="B"),
    "closes of business days": pd.date_range("2001-01-01", periods=60, freq="B") + pd.Timedelta("17h"),
    "business days and a holiday": pd.date_range("2001-01-01", periods=60, freq="B").delete(12),
    "hours of business": HOURS[(HOURS.hour > 8) & (HOURS.hour < 18)],
    "days without 29 February": pd.date_range("2019-12-01", "2020-05-01").delete(90),
    "six hours with a gap": pd.date_range("2001-01-01", periods=60, freq="6h").delete([5, 6]),
    "28 days with a gap": pd.date_range("2001-01-01", periods=60, freq="28D").delete([5]),
    "tenths of seconds with a gap": pd.date_range("2001-01-01T00:00:00.050", periods=60, freq="100ms").delete([5]),
    "hours with fractions and a gap": (HOURS + pd.Timedelta("123456us")).delete(9),
    "the year 850 with a gap": (HOURS.as_unit("s") - pd.Timedelta(427_000, unit="D")).delete(9),
    "hours, then half hours": HOURS.append(pd.date_range(HOURS[-1], periods=100, freq="30min")[1:]),
    "hours, then half past": HOURS.append(pd.date_range(HOURS[-1] + pd.Timedelta("90min"), periods=200, freq="h")),
    "days, then hours": pd.date_range("2021-02-01", periods=28).append(HOURS),
    "months of 4, 4 and 5 weeks": pd.Timestamp("2001-01-01") + pd.to_timedelta(np.cumsum([4, 4, 5] * 12) * 7, unit="D"),
    "some days": pd.Timestamp("2001-01-01") + pd.to_timedelta(np.cumsum(RNG.integers(1, 9, 60)), unit="D"),
    "three, then six hours": pd.date_range("2021-01-01", periods=40, freq="3h").append(
        pd.date_range("2021-01-06", periods=40, freq="6h")
    ),
    "tides": pd.date_range("2021-01-01", periods=90, freq="745min").delete([8]),
}  # fmt: skip
STEPS = 0.05 * np.arange(200)
NUMBERS = {
    "gaps": np.delete(STEPS, [5, 6, 90]),
    "gaps far from zero": 1e6 + np.delete(STEPS, [5, 6, 90]),
    "integers with gaps": np.delete(np.arange(3, 203), [4, 5]),
    "unsigned with gaps": np.delete(np.arange(3, 203), [4, 5]).astype("uint16"),
    "wandering": STEPS + RNG.uniform(-0.01, 0.01, 200),
    "wandering far": STEPS + RNG.uniform(-0.02, 0.02, 200),
    "wandering with gaps": np.delete(STEPS + RNG.uniform(-0.005, 0.005, 200), [7, 8]),
    "single precision with gaps": np.delete(STEPS, [5]).astype("float32"),
    "single precision far from zero": (1e5 + 0.1 * np.arange(100)).astype("float32"),
    "single precision far from zero with gaps": np.delete(1e4 + 0.1 * np.arange(100), [5, 9]).astype("float32"),
    "hours as days since 1900 in single precision": (45000 + np.arange(200) / 24).astype("float32"),
    "the same with a gap": np.delete(45000 + np.arange(200) / 24, [7]).astype("float32"),
    "steps, then halves": np.r_[STEPS, STEPS[-1] + 0.025 * np.arange(1, 50)],
    "steps, then thirds": np.r_[np.arange(0, 30, 3), np.arange(30, 50)],
    "days of a record with gaps": np.delete(np.arange(0, 400, 1 / 24), [7, 99]),
}


@pytest.mark.parametrize("members", [0, 2])
@pytest.mark.parametrize("kind", [*DATES, *NUMBERS])
def test_uneven_times_keep_every_value(kind, members):
    panel = on({**DATES, **NUMBERS}[kind], members)
    whole = mended(panel)
    assert numbers(whole) == numbers(panel)
    seen = whole["y"].isel(node=0).values.ravel()
    assert (np.diff(seen[np.isfinite(seen)]) > 0).all()  # in their order
    assert whole["y"].attrs == panel["y"].attrs and whole["elevation"].dims == ("node",)
    assert whole.sizes["time"] <= 12 * panel.sizes["time"] or len(panel["time"]) < 5 * 24
    parts = ("dekads", "pentads", "months", "half", "halves", "composites", "of years")
    counted = kind in DATES and time_kind(whole) == "model"
    assert not counted or any(word in kind for word in parts)


@pytest.mark.parametrize("kind", ["dekads", "pentads", "8-day composites", "16-day composites", "half months"])
def test_parts_of_months_and_years_are_counted_without_gaps(kind):
    whole = mended(on(DATES[kind]))
    assert time_kind(whole) == "model" and not whole["y"].isnull().any()


@pytest.mark.parametrize(
    "times",
    [
        pd.Timestamp("2001-01-01") + pd.to_timedelta(np.cumsum(RNG.uniform(1, 1e6, 60)), unit="s"),
        pd.DatetimeIndex(["1900-01-01"]).append(HOURS + pd.Timedelta("17s")),
        np.cumsum(RNG.uniform(1, 9, 60)),
        np.geomspace(1, 100, 40),
        np.r_[STEPS, 1e9],
    ],
)
def test_times_on_no_grid_are_refused_with_the_way_out(times):
    says(refusal(PanelError, check_panel, on(times)), "no regular step holds all times", "a field takes uneven times")


def repeated(values, rows=(0, 1, 1, 2)) -> xr.Dataset:
    panel = on(HOURS[:3]).isel(time=list(rows))
    return panel.assign(y=(("time", "node"), np.array(values, "float64")))


NAN = np.nan


@pytest.mark.parametrize(
    "panel",
    [
        on(HOURS[:9]).isel(time=[0, 1, 1, 2, 3, 4]),
        on(HOURS[:9], members=2).isel(time=[0, 1, 1, 1, 2, 3, 3]),
        on(HOURS[:9]).isel(time=[4, 3, 3, 2, 1]),
        on(STEPS[:9]).isel(time=[0, 1, 1, 2, 3]),
        repeated([[1, 2], [3, NAN], [NAN, 4], [5, 6]]),
        repeated([[1, 2], [NAN, NAN], [3, 4], [5, 6]]),
        repeated([[1, 2], [3, NAN], [3, 4], [5, 6]]),
        repeated([[5, 6], [3, 4], [NAN, 4], [1, 2]], rows=(2, 1, 1, 0)),
        xr.concat([repeated([[1, 2], [3, NAN], [NAN, 4], [5, 6]])] * 2, "member", data_vars=["y"]),
        on(HOURS[:9]).isel(node=[0, 1, 1]),
    ],
)
def test_what_appears_twice_keeps_every_value(panel):
    whole = mended(panel)
    assert set(numbers(whole)) == set(numbers(panel))
    assert whole["elevation"].dims == ("node",) and whole["elevation"].values.tolist() == [-1.0, -2.0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1, 2], [3, 4], [5, 6], [7, 8]], ("drop_isel(time=1) or panel.drop_isel(time=2)", "decide which to lose")),
        ([[1, 2], [3, NAN], [5, 6], [7, 8]], ("drop_isel(time=1)", "decide which to lose")),
    ],
)
def test_rows_that_contradict_each_other_are_to_be_decided_on(values, words):
    message = refusal(PanelError, check_panel, repeated(values))
    says(message, "appears twice, at rows 1 and 2", *words)
    assert not re.search(r"with panel\.", message)


def test_three_rows_of_one_time_that_complete_each_other_are_joined_before():
    panel = repeated([[1, 2], [3, NAN], [NAN, 4], [NAN, NAN]], rows=(0, 1, 1, 1))
    says(refusal(PanelError, check_panel, panel), "complete each other", "groupby([time, node]).first()")


def test_other_nodes_of_the_same_label_are_renamed():
    panel = on(HOURS[:9]).assign_coords(node=["a", "a"])
    message = refusal(PanelError, check_panel, panel)
    says(message, "the label 'a' appears twice; the values differ", "another label")
    assert "drop" not in message


def with_h(values, dims=("time", "node"), **coords) -> xr.Dataset:
    return on(HOURS[:6]).assign({"h 1": (dims, np.asarray(values))}).assign_coords(coords)


CELLS = np.arange(12).reshape(6, 2) - 100
LEVELS = -1000.0 - np.arange(36.0).reshape(6, 3, 2)
VARIABLES = {
    "over time alone": with_h(np.arange(6.0) - 50, ("time",)),
    "over time alone, integers": with_h(np.arange(6) - 50, ("time",)),
    "over time alone, booleans": with_h(np.arange(6) > 2, ("time",)),
    "over time and members alone": on(HOURS[:6], 2).assign(h=(("member", "time"), -9.0 - np.arange(12).reshape(2, 6))),
    "over members and time, turned": on(HOURS[:6], 2).assign(
        h=(("time", "member"), -9.0 - np.arange(12).reshape(6, 2))
    ),
    "two over time alone": with_h(np.arange(6.0) - 50, ("time",)).assign(k=("time", np.arange(6.0) - 70)),
    "only over time": with_h(np.arange(6.0) - 50, ("time",)).drop_vars("y"),
    "turned": with_h(CELLS.T * 1.0, ("node", "time")),
    "all turned": on(HOURS[:6]).transpose("node", "time"),
    "turned members": on(HOURS[:6], 2).transpose("time", "node", "member"),
    "a single height": with_h(CELLS[:, None] * 1.0, ("time", "height", "node"), height=[2.0]),
    "a single height without label": with_h(CELLS[:, None] * 1.0, ("time", "height", "node")),
    "heights": with_h(LEVELS, ("time", "height", "node"), height=[2.0, 10.0, 100.0]),
    "heights without labels": with_h(LEVELS, ("time", "height", "node")),
    "heights that repeat": with_h(LEVELS, ("time", "height", "node"), height=[2.0, 2.0, 100.0]),
    "heights, and names that are taken": with_h(LEVELS, ("time", "height", "node")).assign(
        {"h 1_2": on(HOURS[:6])["y"] - 300}
    ),
    "heights of two variables": with_h(LEVELS, ("time", "height", "node")).assign(
        k=(("node", "height"), -5000.0 - np.arange(6).reshape(2, 3))
    ),
    "heights and bands": with_h(np.arange(48.0).reshape(6, 2, 2, 2) - 99, ("time", "height", "band", "node")),
    "heights over time alone": with_h(LEVELS[..., 0], ("time", "height")),
    "integers": with_h(CELLS),
    "small integers": with_h(CELLS.astype("int8")),
    "unsigned": with_h((CELLS + 100).astype("uint32")),
    "integers beyond single precision": with_h(CELLS + 2**25 + 1),
    "two of integers": with_h(CELLS).assign(k=(("time", "node"), CELLS - 1000)),
    "booleans": with_h(CELLS > -95),
    "booleans and a gap": with_h(CELLS > -95).drop_isel(time=2),
    "integers and a gap": with_h(CELLS).drop_isel(time=2),
    "numbers as text": with_h(CELLS.astype(str)),
    "numbers as objects": with_h(CELLS.astype(object)),
    "numbers and None": with_h(np.where(CELLS > -95, CELLS.astype(object), None)),
    "numbers and words": with_h(np.where(CELLS > -95, CELLS.astype(str), "calm")),
    "words": with_h(np.full((6, 2), "NW")),
    "dates": with_h(np.full((6, 2), "2020-01-01", "datetime64[ns]")),
    "bounds of dates": with_h(np.full((6, 2), "2020-01-01", "datetime64[ns]"), ("time", "bnds")),
    "infinite": with_h(np.where(CELLS > -95, CELLS, np.inf)),
}


@pytest.mark.parametrize("kind", VARIABLES)
def test_variables_of_other_dims_and_kinds_keep_every_number(kind):
    panel = VARIABLES[kind]
    whole = mended(panel)
    text = ("numbers as text", "numbers as objects", "numbers and None", "numbers and words")
    before = numbers(panel)
    if kind in text:
        before += Counter(float(x) for x in panel["h 1"].values.ravel().tolist() if x not in (None, "calm"))
    assert before <= numbers(whole), before - numbers(whole)
    assert whole["node"].dtype == panel["node"].dtype
    assert whole["elevation"].dims == ("node",) and set(whole["lat"].dims) == {"node"}


@pytest.mark.parametrize("name", ["y", "PM 2.5", "class", "it's"])
@pytest.mark.parametrize("mark", [1e20, -9.969209968386869e36])
def test_marks_of_missing_values_become_missing_whatever_the_name(name, mark):
    panel = on(HOURS[:9]).astype("float32").rename(y=name)
    panel[name][3, 1] = mark
    code = re.search(r"with (panel\.\w+\(.*\))$", refusal(PanelError, check_marks, name, panel[name].values))[1]
    made = eval(code, {}, {"panel": panel})
    assert numbers(panel) - numbers(made) == Counter({float(np.float32(mark)): 1})
    check_marks(name, made[name].values)


def test_durations_become_hours_and_complex_numbers_their_parts():
    hours = mended(with_h(CELLS.astype("timedelta64[m]")))["h 1"]
    np.testing.assert_allclose(hours, CELLS / 60)
    parts = mended(with_h(CELLS - 7j * CELLS))
    np.testing.assert_array_equal(parts["h 1_real"], CELLS)
    np.testing.assert_array_equal(parts["h 1_imag"], -7 * CELLS)


def test_integers_of_more_digits_than_floats_hold_are_measured_from_the_least():
    whole = mended(with_h(CELLS + 2**62))
    np.testing.assert_array_equal(whole["h 1"], CELLS - CELLS.min())
    message = refusal(PanelError, check_panel, with_h(np.where(CELLS > -95, 2**62, CELLS)))
    says(message, "of up to 19 digits", "leave it out, or make two variables")


@pytest.mark.parametrize(
    ("times", "kind"),
    [
        (HOURS[:9].astype(str), "calendar"),
        (pd.Index(HOURS[::24].date.tolist(), dtype=object), "calendar"),
        (pd.Index(HOURS[:9].tz_localize("UTC").tolist(), dtype=object), "calendar"),
        (pd.Index(["20210301", "20210302", "20210303"]), "calendar"),
        (pd.Index([f"{t}+02:00" for t in HOURS[:9]]), "calendar"),
        (pd.Index(["2021-03-28T01:00+01:00", "2021-03-28T03:00+02:00"]), "calendar"),
        (pd.Index([str(x) for x in STEPS[:9]]), "model"),
        (HOURS[:9] - HOURS[0], "model"),
        (pd.period_range("2001-01", periods=9, freq="M"), "calendar"),
        (pd.Index(["2021-03-01", "2021-03-02T00:00"], dtype=object), "calendar"),
        (np.array([0.0, 1.0, 2.0], object), "model"),
    ],
)
def test_times_of_other_kinds_are_converted(times, kind):
    panel = on(np.arange(len(times))).assign_coords(time=np.asarray(times))
    whole = mended(panel)
    assert time_kind(whole) == kind and numbers(whole) == numbers(panel)


def test_times_that_are_none_are_lost_in_words_only():
    times = np.array(HOURS[:9])
    times[[3, 5]] = "NaT"
    says(refusal(PanelError, check_panel, on(times)), "row 3", "lose its values: panel.drop_isel(time=[3, 5])")
    words = np.array(["soon", "later"], object)
    says(refusal(PanelError, check_panel, on(words)), "pandas.to_datetime and its argument format", "'soon'")


@pytest.mark.parametrize("count", [1, 5, 20, 21])
def test_all_nodes_that_are_never_observed_are_named(count):
    nodes = np.array([f"n{i}" for i in range(30)])
    message = refusal(PanelError, check_seen, "y", nodes, np.arange(30) >= count)
    code = re.search(r"stgate\.panels\.select\((.*)\)$", message)[1]
    panel = xr.Dataset({"y": (("time", "node"), np.ones((2, 30)))}, {"time": [0.0, 1.0], "node": nodes})
    panel = panel.where(panel["node"].isin(nodes[count:]))
    kept = eval(f"select({code})", {"panel": panel, "select": lambda p, without=(): p.drop_sel(node=list(without))})
    assert kept["node"].values.tolist() == nodes[count:].tolist()
