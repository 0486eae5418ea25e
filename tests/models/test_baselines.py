"""Baselines: closed forms, compared with the same thing computed in another way."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import HORIZON, WINDOW, make_data, make_panel, model_time_panel, trainer

import stgate
from stgate.errors import RequestError
from stgate.models import Climatology, Persistence, Ridge

ALL = pytest.mark.parametrize(
    "make", [Persistence, lambda: Persistence(carry=True), Climatology, Ridge], ids=["last", "carry", "cells", "ridge"]
)


def fit(model, panel, targets="y", options=None, **given):
    data = make_data(panel, targets=targets, batch_size=32, **given)
    machine = trainer(5, **(options or {}))
    machine.fit(model, data)
    return model.eval(), data, machine


# All of them


@ALL
def test_every_baseline_is_calibrated_and_forecasts_as_any_forecaster_does(make):
    panel = make_panel(steps=200)
    model, data, _ = fit(make(), panel, ["y", "u"])
    coverage = stgate.calibrate(model, data, levels=[0.5, 0.8])
    forecast = stgate.forecast(model, panel, levels=[0.5, 0.8])
    hindcast = stgate.backtest(model, panel, levels=[0.8], every=10)
    for made in (forecast, hindcast):
        stgate.check_forecast(made)
        assert made.attrs["model"] == type(model).__name__
        assert {"y", "y_mean", "u", "u_mean"} <= set(made.data_vars)
    assert list(coverage) == [0.5, 0.8]
    assert min(coverage.values()) > 0.5 - 0.03  # groups of a few cases take the intervals of wider ones


@ALL
def test_one_epoch_is_all_it_takes(make):
    _, _, machine = fit(make(), make_panel(steps=100))
    assert machine.current_epoch == 1


@ALL
def test_validation_errors_are_means_over_what_is_forecast_and_observed(make):
    model, data, machine = fit(make(), make_panel(steps=160, missing=0.3))
    errors = [(model(b).mean - b["target"]).abs().flatten() for b in data.part_dataloader("validation")]
    expected = torch.cat(errors).nanmean().item()
    assert machine.callback_metrics["val_mae"].item() == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(machine.callback_metrics["val_loss"].item())


@ALL
def test_every_baseline_takes_members_and_model_time(make):
    panel = model_time_panel(steps=120)
    model, _, _ = fit(make(), panel, "x")
    hindcast = stgate.backtest(model, panel, every=9)
    stgate.check_forecast(hindcast)
    assert hindcast["x_mean"].dims == ("member", "init_time", "lead_time", "node")
    assert bool(hindcast["x_mean"].notnull().any("init_time").all())


# Persistence


def test_persistence_repeats_the_value_at_the_origin_and_is_missing_where_that_is():
    panel = make_panel(steps=160, missing=0.3)
    model, _, _ = fit(Persistence(), panel)
    hindcast = stgate.backtest(model, panel)
    origin = panel["y"].sel(time=hindcast["init_time"].values).values
    assert np.isnan(origin).any()
    inside = (hindcast["valid_time"] <= panel["time"].values[-1]).values
    for lead in range(HORIZON):
        have = hindcast["y_mean"].isel(lead_time=lead).values[inside[:, lead]]
        np.testing.assert_array_equal(have, origin[inside[:, lead]])


def test_persistence_carries_the_last_value_of_the_window_forward():
    panel = make_panel(steps=160, missing=0.6)
    model, _, _ = fit(Persistence(carry=True), panel)
    hindcast = stgate.backtest(model, panel)
    # pandas' limit counts the steps filled: the origin itself and the window - 1 steps before it.
    carried = panel["y"].to_pandas().ffill(limit=WINDOW - 1).loc[hindcast["init_time"].values].to_numpy()
    assert np.isnan(carried).any() and not np.isnan(carried).all()
    np.testing.assert_allclose(hindcast["y_mean"].isel(lead_time=0).values, carried, rtol=1e-6)


def test_the_spread_of_persistence_is_that_of_changes_over_as_many_steps():
    panel = make_panel(steps=160)
    model, data, _ = fit(Persistence(), panel)
    train = panel["y"].values[slice(*data.parts.train)].astype("float64")
    expected = [np.sqrt(np.nanmean((train[k:] - train[:-k]) ** 2)) for k in range(1, HORIZON + 1)]
    np.testing.assert_allclose(model.predictor.built.spread[:, 0], expected, rtol=1e-5)


# Climatology


def test_climatology_is_the_median_by_month_and_hour_of_the_training_rows():
    panel = make_panel(steps=24 * 70, missing=0.3)  # January to March: the training part ends in February
    model, data, _ = fit(Climatology(), panel)
    frame = panel["y"].to_pandas().iloc[slice(*data.parts.train)]
    medians = frame.groupby([frame.index.month, frame.index.hour]).median()
    hindcast = stgate.backtest(model, panel, end="2020-02-10", every=5)
    for lead in range(HORIZON):
        valid = pd.DatetimeIndex(hindcast["valid_time"].isel(lead_time=lead).values)
        inside = valid < "2020-02-11"
        expected = medians.loc[list(zip(valid.month, valid.hour, strict=True))].to_numpy()
        have = hindcast["y_mean"].isel(lead_time=lead).values
        np.testing.assert_allclose(have[inside], expected[inside], rtol=1e-6)


def test_a_cell_never_seen_in_training_takes_the_overall_median():
    panel = make_panel(steps=24 * 70)
    model, data, _ = fit(Climatology(), panel)
    overall = panel["y"].isel(time=slice(*data.parts.train)).median("time")
    march = stgate.backtest(model, panel, start="2020-03-05", every=7)["y_mean"]
    np.testing.assert_allclose(march.max(["init_time", "lead_time"]), overall, rtol=1e-6)
    np.testing.assert_allclose(march.min(["init_time", "lead_time"]), overall, rtol=1e-6)


def test_climatology_in_model_time_is_the_overall_median_of_all_members():
    panel = model_time_panel(steps=120)
    model, data, _ = fit(Climatology(), panel, "x")
    overall = panel["x"].isel(time=slice(*data.parts.train)).median(["member", "time"])
    forecast = stgate.forecast(model, panel)
    np.testing.assert_allclose(forecast["x_mean"].isel(init_time=0, lead_time=0, member=1), overall, rtol=1e-6)


def test_an_unknown_calendar_key_is_refused_at_once():
    with pytest.raises(RequestError, match="did you mean hour"):
        Climatology(keys=["hours"])


def test_calendar_keys_in_model_time_are_refused():
    with pytest.raises(RequestError, match="no calendar"):
        fit(Climatology(keys=["hour"]), model_time_panel(steps=120), "x")


# Ridge (its sums and penalties: test_regression.py)


def test_ridge_recovers_a_panel_that_is_exactly_linear():
    """Sums of two sinusoids of any amplitude and phase obey one linear recurrence of order four."""
    steps = np.arange(300)[:, None]
    y = 5 + np.sin(0.5 * steps + [0, 1, 2]) * [1, 2, 3] + np.cos(1.1 * steps + [2, 0, 1]) * [2, 1, 0.5]
    time = pd.date_range("2020-01-01", periods=300, freq="h")
    panel = xr.Dataset({"y": (("time", "node"), y.astype("float32"))}, {"time": time, "node": ["a", "b", "c"]})
    model, _, _ = fit(Ridge(penalty=1e-9), panel)
    hindcast = stgate.backtest(model, panel, start="2020-01-10", every=5)
    error = abs(hindcast["y_mean"] - hindcast["y_truth"])
    assert float(error.max()) < 2e-3


@pytest.mark.parametrize("penalty", [0.0, -1.0])
def test_a_penalty_of_zero_or_less_is_refused(penalty):
    with pytest.raises(RequestError, match="above zero"):
        Ridge(penalty=penalty)


@ALL
@pytest.mark.parametrize("unit", [2.0**-50, 2.0**-30, 2.0**40])
def test_a_baseline_in_another_unit_is_the_same_baseline(make, unit):
    panel, options = make_panel(steps=200), {"calendar": []}
    scores = []
    for factor in (1.0, unit):
        scaled = panel.assign(y=panel["y"].astype("float64") * factor)
        model, _, _ = fit(make(), scaled, **options)
        scores.append(stgate.evaluate(stgate.backtest(model, scaled, every=10)).map(float))
    for name in ("mae", "crps", "width_90"):
        assert float(scores[1][name]) == pytest.approx(unit * float(scores[0][name]), rel=2e-3)
    assert float(scores[1]["coverage_90"]) == float(scores[0]["coverage_90"])
