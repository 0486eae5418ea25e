"""Forecast and backtest: what may be used, when a forecast starts, and what comes out."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import HORIZON, HOUR, WINDOW, make_model, make_panel, model_time_panel, same

import stgate
from stgate.errors import ForecastError, ForecastWarning, PanelError, RequestError
from stgate.models import GatedRNN

# forecast


def test_a_forecast_starts_one_step_after_the_last_observation_of_any_target():
    panel = make_panel(steps=120)
    model, _ = make_model(panel, ["y", "u"])
    panel["y"][100:] = np.nan
    panel["u"][104:] = np.nan
    panel["u"].values[103] = [np.nan, 1.0, np.nan]
    forecast = stgate.forecast(model, panel)
    stgate.check_forecast(forecast)
    assert forecast["init_time"].values.tolist() == panel["time"].values[[103]].tolist()
    assert forecast["lead_time"].values.tolist() == (np.arange(1, 4) * HOUR).astype("timedelta64[us]").tolist()
    assert (forecast["valid_time"].values == panel["time"].values[104:107]).all()
    assert dict(forecast.sizes) == {"init_time": 1, "lead_time": HORIZON, "node": 3, "quantile": 5}
    assert not [n for n in forecast if n.endswith("_truth")]


def test_a_forecast_carries_units_node_coordinates_and_where_it_came_from():
    panel = make_panel(steps=120)
    model, _ = make_model(panel)
    forecast = stgate.forecast(model, panel)
    assert {forecast[n].attrs["units"] for n in ("y", "y_mean")} == {"ug/m3"}
    for name in ("lat", "lon"):
        np.testing.assert_array_equal(forecast[name], panel[name])
    assert forecast.attrs["model"] == "GatedRNN"
    assert forecast.attrs["weights"] == model.predictor.fingerprint()
    assert forecast.attrs["calibration"] == "none"


def test_valid_time_is_init_time_plus_lead_time():
    panel = make_panel(steps=120)
    for made in (stgate.forecast(make_model(panel)[0], panel), stgate.backtest(make_model(panel)[0], panel)):
        assert (made["valid_time"] == made["init_time"] + made["lead_time"]).all()


def test_start_is_the_first_time_forecast_and_the_truth_comes_along():
    panel = make_panel(steps=120)
    model, _ = make_model(panel)
    forecast = stgate.forecast(model, panel, start="2020-01-04T05")
    assert forecast["valid_time"].values[0, 0] == np.datetime64("2020-01-04T05")
    truth = panel["y"].sel(time=forecast["valid_time"][0]).values
    np.testing.assert_array_equal(forecast["y_truth"][0].values, truth)


def test_a_truth_known_for_one_target_only_is_kept():
    panel = make_panel(steps=120, missing=0)
    model, _ = make_model(panel, ["y", "u"])
    panel["y"][100:] = np.nan
    forecast = stgate.forecast(model, panel, start=str(panel["time"].values[100]))
    np.testing.assert_array_equal(forecast["u_truth"][0], panel["u"][100:103])


def test_rows_after_the_start_change_nothing_but_the_truth():
    panel = make_panel(steps=120)
    model, _ = make_model(panel)
    start = "2020-01-04T05"
    cut = panel.sel(time=slice(None, "2020-01-04T04"))
    assert same(
        stgate.forecast(model, panel, start=start).drop_vars("y_truth"), stgate.forecast(model, cut, start=start)
    )


@pytest.mark.parametrize("start", ["2019-12-01", "2020-03-01", "2020-01-06T02", "yesterday", "7.5"])
def test_a_start_that_is_no_time_of_the_panel_is_refused(start):
    panel = make_panel(steps=120)  # to 2020-01-05T23
    with pytest.raises(RequestError, match=rf"start \(--from\) {start}"):
        stgate.forecast(make_model(panel)[0], panel, start=start)


def test_the_step_after_the_panel_may_be_the_start():
    panel = make_panel(steps=120, missing=0)
    model, _ = make_model(panel)
    assert same(stgate.forecast(model, panel, start="2020-01-06T00"), stgate.forecast(model, panel))


def test_rows_beyond_the_last_observation_supply_future_covariates():
    panel = make_panel(steps=120, missing=0)
    panel["y"][110:] = np.nan
    model, _ = make_model(panel, model=GatedRNN(linear=False), future_covariates=["u"])  # a regression reads all leads
    calm = stgate.forecast(model, panel)
    assert (calm["valid_time"].values == panel["time"].values[110:113]).all()
    windy = panel.copy(deep=True)
    windy["u"][111] += 1
    change = abs(stgate.forecast(model, windy)["y_mean"] - calm["y_mean"]).max(["init_time", "node"]).values
    assert change[1] > 0
    assert (change[[0, 2]] == 0).all()


@pytest.mark.parametrize("known", [0, 2])
def test_future_covariates_that_lack_are_refused_by_name_and_time(known):
    panel = make_panel(steps=120, missing=0)
    model, _ = make_model(panel, future_covariates=["u"])
    panel["y"][110:] = np.nan
    lacking = panel["time"].values[110 + known]
    panel["u"][110 + known :] = np.nan
    with pytest.raises(ForecastError, match=f"`u`: a future covariate, missing at {lacking}"):
        stgate.forecast(model, panel)
    with pytest.raises(ForecastError, match="`u`: a future covariate"):
        stgate.forecast(model, panel.isel(time=slice(110 + known)))


def test_a_window_of_history_is_enough_and_one_step_less_is_refused():
    panel = make_panel(steps=120, missing=0)
    model, _ = make_model(panel)
    assert bool(stgate.forecast(model, panel.isel(time=slice(-WINDOW, None)))["y"].notnull().all())
    with pytest.raises(ForecastError, match="5 steps of history, the window needs 6"):
        stgate.forecast(model, panel.isel(time=slice(1 - WINDOW, None)))


def test_a_panel_that_was_never_observed_is_refused():
    panel = make_panel(steps=120)
    model, _ = make_model(panel)
    with pytest.raises(PanelError, match="never observed"):
        stgate.forecast(model, panel.where(False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.drop_vars("y"), "`y`: the panel has no such variable"),
        (lambda p: p.isel(node=[0, 1]), "lacks 'c'"),
        (lambda p: p.isel(time=slice(None, None, 2)), "fitted on steps of h"),
        (lambda p: p.assign_coords(time=np.arange(120.0)), "model time"),
    ],
    ids=["variable", "nodes", "step", "time"],
)
def test_a_panel_that_does_not_fit_is_refused_by_its_difference(change, message):
    panel = make_panel(steps=120)
    model, _ = make_model(panel)
    for act in (stgate.forecast, stgate.backtest):
        with pytest.raises(PanelError, match=message):
            act(model, change(panel))


def test_other_units_than_those_fitted_on_are_refused_and_none_at_all_pass():
    panel = make_panel()
    model, _ = make_model(panel)
    for unit, passes in (("ug/m3", True), ("", True), ("K", False)):
        given = panel.copy()
        given["y"] = given["y"].assign_attrs(units=unit)
        if passes:
            stgate.forecast(model, given, start=str(panel["time"].values[100]))
        else:
            with pytest.raises(PanelError, match="`y`: is in 'K', wanted is 'ug/m3'"):
                stgate.forecast(model, given)


def test_the_order_of_the_nodes_in_the_panel_does_not_matter():
    panel = make_panel(steps=120)
    model, _ = make_model(panel)
    mixed = panel.isel(node=[2, 0, 1])
    assert same(stgate.forecast(model, mixed), stgate.forecast(model, panel))
    assert same(stgate.backtest(model, mixed, every=9), stgate.backtest(model, panel, every=9))


def test_a_checkpoints_path_forecasts_as_the_model_itself(tmp_path):
    panel = make_panel(steps=120)
    model, _ = make_model(panel)
    model.save(tmp_path / "m.ckpt")
    assert stgate.forecast(tmp_path / "m.ckpt", panel).attrs["weights"] == model.predictor.fingerprint()
    assert same(stgate.forecast(str(tmp_path / "m.ckpt"), panel), stgate.forecast(model, panel))


def test_steps_since_observed_count_back_from_the_origin_to_the_last_value():
    panel = make_panel(steps=120, missing=0.6)
    model, _ = make_model(panel)
    hindcast = stgate.backtest(model, panel)
    seen = panel["y"].notnull().to_pandas()
    since = seen.apply(lambda s: s.groupby(s.cumsum()).cumcount())  # rows since the last True
    never = seen.cumsum() == 0
    since = since.where(~never, since + 1)  # never seen: counted from the first row
    np.testing.assert_array_equal(hindcast["steps_since_observed"], since.loc[hindcast["init_time"].values])


def test_quantiles_never_cross_at_any_level():
    panel = make_panel(steps=160)
    model, data = make_model(panel)
    levels = [0.01, 0.1, 0.5, 0.501, 0.9, 0.95]
    raw = stgate.forecast(model, panel, levels=levels)
    stgate.calibrate(model, data, levels=levels)
    for made in (raw, stgate.forecast(model, panel, levels=levels)):
        assert made.sizes["quantile"] == 2 * len(levels) + 1
        assert bool((made["y"].diff("quantile") >= 0).all())


@pytest.mark.parametrize("level", [0.0, 1.0, 90, -0.5])
def test_a_level_outside_zero_to_one_is_refused(level):
    panel = make_panel(steps=120)
    with pytest.raises(RequestError, match=f"level {level:g}"):
        stgate.forecast(make_model(panel)[0], panel, levels=[level])


# Members, several targets, model time


def test_several_targets_each_have_quantiles_mean_and_truth():
    panel = make_panel(steps=120)
    model, data = make_model(panel, ["y", "u"])
    stgate.calibrate(model, data, levels=[0.5])
    hindcast = stgate.backtest(model, panel, levels=[0.5], every=7)
    stgate.check_forecast(hindcast)
    assert set(hindcast.data_vars) == {"y", "y_mean", "y_truth", "u", "u_mean", "u_truth"}
    assert hindcast["u"].attrs["units"] == "1" and hindcast["y_truth"].attrs["units"] == "ug/m3"


def test_every_member_is_forecast_as_if_it_were_alone():
    panel = model_time_panel()
    model, _ = make_model(panel, "x", GatedRNN(hidden=8, halo=1))
    both = stgate.backtest(model, panel, every=11)
    assert both["x"].dims == ("member", "init_time", "lead_time", "node", "quantile")
    for member in (0, 1):
        alone = stgate.backtest(model, panel.isel(member=[member]), every=11)
        xr.testing.assert_allclose(alone, both.isel(member=[member]), rtol=1e-5)


@pytest.mark.parametrize("drop", [True, False], ids=["label dropped", "label kept"])
def test_one_member_selected_from_a_panel_is_a_panel(drop):
    panel = model_time_panel()
    model, _ = make_model(panel, "x")
    alone = stgate.forecast(model, panel.isel(member=1, drop=drop))
    assert "member" not in alone.dims
    np.testing.assert_allclose(alone["x"], stgate.forecast(model, panel)["x"].isel(member=1), rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1234.5])
def test_model_time_gives_float_lead_times_with_units(offset):
    panel = model_time_panel(offset=offset)
    model, _ = make_model(panel, "x")
    forecast = stgate.forecast(model, panel)
    np.testing.assert_allclose(forecast["lead_time"], [0.05, 0.1, 0.15])
    assert forecast["lead_time"].attrs["units"] == "model time units"
    np.testing.assert_allclose(forecast["valid_time"], offset + np.array([[5.0, 5.05, 5.1]]))
    hindcast = stgate.backtest(model, panel, start=offset + 2.0, end=offset + 3.0)
    valid = hindcast["valid_time"].where(hindcast["x_mean"].notnull().all(["node", "member"]))
    np.testing.assert_allclose([valid.min(), valid.max()], [offset + 2.0, offset + 3.0])


# backtest


def test_a_backtest_equals_the_forecasts_from_its_origins():
    panel = make_panel(steps=120)
    model, data = make_model(panel, future_covariates=["u"])
    panel["u"] = panel["u"].ffill("time").bfill("time")
    for _ in range(2):  # as the network says, then calibrated
        hindcast = stgate.backtest(model, panel, every=17)
        for origin in hindcast["init_time"].values[:-1]:
            alone = stgate.forecast(model, panel, start=str(origin + HOUR))
            expected = hindcast.sel(init_time=[origin])
            xr.testing.assert_allclose(alone, expected, rtol=1e-5)
        stgate.calibrate(model, data, levels=[0.5, 0.9])


@pytest.mark.filterwarnings("ignore:.*far beyond:stgate.errors.ForecastWarning")
@pytest.mark.parametrize("calibrated", [False, True])
def test_no_forecast_looks_beyond_its_origin(calibrated):
    panel = make_panel(steps=120, missing=0.2)
    model, data = make_model(panel, past_covariates=["u"])
    if calibrated:
        stgate.calibrate(model, data, levels=[0.5, 0.9])
    before = stgate.backtest(model, panel)
    for row in (20, 63, 118):
        other = panel.copy(deep=True)
        other["y"][row + 1 :] *= 1e5
        other["u"][row + 1 :] = np.nan
        after = stgate.backtest(model, other)
        known = {"init_time": slice(None, panel["time"].values[row])}
        for name in ("y", "y_mean", "steps_since_observed"):
            assert before[name].sel(known).identical(after[name].sel(known))


def test_start_and_end_bound_the_valid_times_and_every_pair_between_them_is_there():
    panel = make_panel(steps=120)
    model, _ = make_model(panel)
    hindcast = stgate.backtest(model, panel, start="2020-01-03T02", end="2020-01-03T09")
    made = hindcast["y_mean"].notnull().all("node")
    low, high = np.datetime64("2020-01-03T02"), np.datetime64("2020-01-03T09")
    inside = (hindcast["valid_time"] >= low) & (hindcast["valid_time"] <= high)
    assert (made == inside).all()
    assert (made.sum("init_time") == 8).all()  # each lead verifies at each of the eight hours
    assert hindcast["init_time"].values[0] == low - HORIZON * HOUR
    assert hindcast["y_truth"].where(~inside).isnull().all()


def test_an_end_that_is_a_date_includes_its_last_step():
    panel = make_panel(steps=120)
    model, _ = make_model(panel)
    hindcast = stgate.backtest(model, panel, start="2020-01-03", end="2020-01-03")
    valid = hindcast["valid_time"].where(hindcast["y_mean"].notnull().all("node")).values
    valid = valid[~np.isnat(valid)]
    assert valid.min() == np.datetime64("2020-01-03T00")
    assert valid.max() == np.datetime64("2020-01-03T23")


@pytest.mark.parametrize("end", ["2020-01-03 05:00", "2020-01-03T05:30", pd.Timestamp("2020-01-03T05")])
def test_an_end_with_an_hour_means_that_hour(end):
    panel = make_panel(steps=120)
    hindcast = stgate.backtest(make_model(panel)[0], panel, start="2020-01-03", end=end)
    made = hindcast["y_mean"].notnull().all("node")
    assert hindcast["valid_time"].values[made.values].max() == np.datetime64("2020-01-03T05")


@pytest.mark.parametrize("every", [1, 5, 24])
def test_origins_are_every_so_many_steps_apart_and_one_lies_just_before_the_start(every):
    panel = make_panel(steps=120)
    hindcast = stgate.backtest(make_model(panel)[0], panel, start="2020-01-03", every=every)
    assert set(np.diff(hindcast["init_time"].values)) == {every * HOUR}
    assert np.datetime64("2020-01-02T23") in hindcast["init_time"].values


def test_without_bounds_a_backtest_runs_from_the_first_whole_window_to_the_last_truth():
    panel = make_panel(steps=120)
    hindcast = stgate.backtest(make_model(panel)[0], panel)
    assert hindcast["init_time"].values[0] == panel["time"].values[WINDOW - 1]
    assert hindcast["init_time"].values[-1] == panel["time"].values[-2]


def test_the_truth_is_the_panel_at_the_valid_time():
    panel = make_panel(steps=120, missing=0.3)
    hindcast = stgate.backtest(make_model(panel)[0], panel, every=4)
    longer = panel["y"].reindex(time=np.unique(hindcast["valid_time"]))
    truth = longer.sel(time=hindcast["valid_time"]).transpose(*hindcast["y_truth"].dims)
    np.testing.assert_array_equal(hindcast["y_truth"], truth)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every 0"),
        ({"start": "2020-01-03", "end": "2020-01-02"}, "swap"),
        ({"start": "2021-01-01"}, r"start \(--from\) 2021-01-01: outside the panel"),
        ({"end": "2019-01-01"}, r"end \(--to\) 2019-01-01: outside the panel"),
        ({"start": "tomorrow"}, r"start \(--from\) tomorrow: not a time"),
    ],
    ids=str,
)
def test_a_backtest_that_cannot_be_is_refused_with_the_reason(options, message):
    panel = make_panel(steps=120)
    with pytest.raises(RequestError, match=message):
        stgate.backtest(make_model(panel)[0], panel, **options)


def test_a_backtest_without_enough_history_is_refused():
    panel = make_panel(steps=120)
    with pytest.raises(ForecastError, match="6 steps of history"):
        stgate.backtest(make_model(panel)[0], panel, end="2020-01-01T04")


def test_progress_counts_up_to_all_windows():
    panel, calls = make_panel(steps=120), []
    hindcast = stgate.backtest(make_model(panel)[0], panel, progress=lambda *count: calls.append(count))
    assert calls[-1] == (hindcast.sizes["init_time"],) * 2
    assert calls == sorted(calls)


def test_forecasting_leaves_a_model_in_training_mode_in_training_mode():
    panel = make_panel(steps=120)
    model, data = make_model(panel)
    model.train()
    stgate.calibrate(model, data)
    stgate.forecast(model, panel)
    assert model.training


def test_an_offset_in_a_start_is_taken_to_utc_and_a_day_first_date_refused():
    panel = make_panel(steps=120)
    model, _ = make_model(panel)
    forecast = stgate.forecast(model, panel, start="2020-01-03T13:00+01:00")
    assert forecast["valid_time"].values[0, 0] == np.datetime64("2020-01-03T12:00")
    with pytest.raises(RequestError, match="year first"):
        stgate.forecast(model, panel, start="03/01/2020")


def test_means_far_beyond_the_training_values_are_warned_of():
    panel = make_panel()
    model, _ = make_model(panel)
    low, high = model.predictor.range[0]
    assert (low, high) == pytest.approx(
        (float(panel["y"].isel(time=slice(0, 240)).min()), float(panel["y"].isel(time=slice(0, 240)).max()))
    )
    with pytest.warns(ForecastWarning, match="`y`: .* forecast means reach to .* check units and inputs"):
        stgate.forecast(model, panel.assign(y=panel["y"] * 1000))
