"""The forecast: quantiles and levels, the check, and picking an interval."""

import helpers
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import refusal, says
from hypothesis import given
from hypothesis import strategies as st

from stgate.errors import ForecastError, RequestError, StgateError
from stgate.schema.forecast import (
    check_forecast,
    interval,
    lead_unit,
    levels_of,
    median,
    quantiles_of,
    targets_of,
)


def make_forecast():
    """Three origins and four leads; quantile q of a cell is its mean + q."""
    return helpers.make_forecast(inits=3, leads=4, offsets={q: q for q in quantiles_of([0.5, 0.9])}, mean=0.0)


def refused(forecast, *words: str) -> None:
    says(refusal(ForecastError, check_forecast, forecast), *words)


levels = st.lists(st.integers(1, 9999).map(lambda n: n / 10_000), min_size=1, max_size=8)


@given(levels)
def test_the_levels_asked_for_are_the_levels_held(asked):
    assert levels_of(quantiles_of(asked)) == sorted(set(asked))


@given(levels)
def test_quantiles_ascend_hold_the_median_and_lie_symmetric_about_it(asked):
    quantiles = np.asarray(quantiles_of(asked))
    assert (np.diff(quantiles) > 0).all() and 0.5 in quantiles
    np.testing.assert_allclose(quantiles + quantiles[::-1], 1, atol=1e-12)


@pytest.mark.parametrize("level", [0, 1, -0.1, 90, float("nan")])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(RequestError, match="level"):
        quantiles_of([0.5, level])


@pytest.mark.parametrize("level", [1e-7, 1 - 1e-7])
def test_a_level_that_rounding_would_turn_into_none_or_all_is_refused(level):
    with pytest.raises(RequestError, match="level"):
        quantiles_of([level])


def test_a_quantile_without_its_mirror_bounds_no_level():
    assert levels_of([0.1, 0.5, 0.95]) == []
    assert levels_of([0.05, 0.1, 0.5, 0.95]) == [0.9]


def test_a_whole_forecast_passes_silently_and_names_its_targets():
    forecast = make_forecast()
    check_forecast(forecast)
    assert targets_of(forecast) == ["y"]


@pytest.mark.parametrize("dim", ["init_time", "lead_time", "node", "quantile"])
def test_a_missing_dimension_is_named(dim):
    refused(make_forecast().drop_vars(dim), f"`{dim}`", "panel")


def test_a_panel_is_no_forecast(panel):
    refused(panel, "`init_time`", "stgate backtest")
    refused(panel["y"], "DataArray")


def test_a_forecast_without_valid_times_or_targets_is_refused():
    refused(make_forecast().drop_vars("valid_time"), "`valid_time`")
    refused(make_forecast().drop_vars("y"), "quantile")


def test_quantiles_that_cross_are_counted():
    forecast = make_forecast()
    forecast["y"][0, 0, 0, 0] = forecast["y"][2, 1, 1, 4] = np.nan
    check_forecast(forecast)
    forecast["y"][0, 1, 0, 0] = forecast["y"][2, 3, 1, 2] = 99
    refused(forecast, "`y`", "cross at 2 places")


def test_infinite_bounds_do_not_cross():
    forecast = make_forecast()
    forecast["y"][..., :2], forecast["y"][..., 3:] = -np.inf, np.inf
    check_forecast(forecast)


def test_quantiles_out_of_order_are_refused_with_the_fix():
    backwards = make_forecast().isel(quantile=slice(None, None, -1))
    refused(backwards, "`quantile`", "forecast.sortby('quantile')")
    check_forecast(backwards.sortby("quantile"))


def test_a_truth_with_quantiles_is_refused():
    forecast = make_forecast()
    refused(forecast.assign(y_truth=forecast["y"]), "`y_truth`")


def test_an_interval_is_bounded_by_its_two_quantiles():
    forecast = make_forecast()
    lower, upper = interval(forecast, "y", 0.9)
    assert lower.dims == upper.dims == ("init_time", "lead_time", "node") and "quantile" not in lower.coords
    xr.testing.assert_allclose(lower - forecast["y_mean"], xr.full_like(lower, 0.05), atol=1e-6)
    xr.testing.assert_allclose(upper - forecast["y_mean"], xr.full_like(upper, 0.95), atol=1e-6)
    xr.testing.assert_allclose(median(forecast, "y") - forecast["y_mean"], xr.full_like(lower, 0.5), atol=1e-6)


def test_a_level_that_the_forecast_lacks_is_answered_with_those_it_holds():
    with pytest.raises(RequestError, match=r"level 0\.8.*0\.5, 0\.9"):
        interval(make_forecast(), "y", 0.8)


def test_a_forecast_without_a_median_is_an_error_of_ours():
    with pytest.raises(StgateError, match=r"0\.5"):
        median(make_forecast().sel(quantile=[0.05, 0.95]), "y")


@pytest.mark.parametrize(
    ("step", "count", "unit"), [("5min", 12, "minutes"), ("5min", 48, "hours"), ("1h", 2, "hours"), ("1D", 7, "days")]
)
def test_lead_times_are_told_in_the_unit_that_people_read(step, count, unit):
    leads = np.arange(1, count + 1) * pd.Timedelta(step).to_timedelta64()
    assert lead_unit(leads)[0] == unit
