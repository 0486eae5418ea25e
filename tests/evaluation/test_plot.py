"""Pictures: what they show and say."""

import helpers
import numpy as np
import pytest
import xarray as xr
from helpers import HOUR
from matplotlib.figure import Figure

import stgate
from stgate.errors import ForecastError, RequestError

OFFSETS = {0.05: -9.0, 0.25: -4.0, 0.5: 0.0, 0.75: 4.0, 0.95: 9.0}


def make_forecast(step=HOUR, nodes=("Dongsi", "Tiantan", "Guanyuan"), members=0):
    """Three origins of six leads; the first one was not forecast at its first lead."""
    shape = {"inits": 3, "leads": 6, "nodes": nodes, "step": step, "every": step, "members": members}
    numbers = {"offsets": OFFSETS, "mean": 0.0, "noise": 3.0, "missing": 0.0, "units": "ug/m3"}
    forecast = helpers.make_forecast("pm25", **shape, **numbers, model="GatedRNN")
    for name in forecast.data_vars:
        forecast[name].loc[{"init_time": forecast["init_time"][0], "lead_time": forecast["lead_time"][0]}] = np.nan
    return forecast


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_fan_names_its_intervals_its_median_and_the_truth():
    figure = stgate.plot.fan(make_forecast(), node="Tiantan")
    assert isinstance(figure, Figure)
    assert sorted(legend(figure)) == ["50 % interval", "90 % interval", "median", "observed"]
    axes = figure.axes[0]
    assert axes.get_xlabel() == "lead time (hours)"
    assert axes.get_ylabel() == "pm25 (ug/m3)"
    assert "GatedRNN" in axes.get_title(loc="left") and "Tiantan" in axes.get_title(loc="left")


def test_a_fan_shows_the_median_and_truth_of_its_node_and_origin():
    forecast = make_forecast()
    lines = stgate.plot.fan(forecast, node="Guanyuan", init=2).axes[0].lines
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in lines}
    chosen = forecast.sel(node="Guanyuan").isel(init_time=2)
    np.testing.assert_allclose(drawn["median"], chosen["pm25"].sel(quantile=0.5))
    np.testing.assert_allclose(drawn["observed"], chosen["pm25_truth"])
    np.testing.assert_allclose(np.asarray(lines[0].get_xdata()), [1, 2, 3, 4, 5, 6])


def test_without_an_origin_the_first_one_forecast_at_every_lead_is_shown():
    forecast = make_forecast()
    (first, second) = (stgate.plot.fan(forecast, init=init).axes[0] for init in (None, 1))
    assert first.get_title(loc="left") == second.get_title(loc="left")


@pytest.mark.parametrize("init", [1, "1", "2020-01-01T01:00", -2])
def test_an_origin_is_chosen_by_number_or_by_time(init):
    title = stgate.plot.fan(make_forecast(), init=init).axes[0].get_title(loc="left")
    assert "2020-01-01T01:00" in title


def test_a_fan_without_truth_says_nothing_of_observations():
    assert "observed" not in legend(stgate.plot.fan(make_forecast().drop_vars("pm25_truth")))


@pytest.mark.parametrize(
    ("step", "label"),
    [
        (HOUR, "lead time (hours)"),
        (np.timedelta64(1, "D"), "lead time (days)"),
        (np.timedelta64(5, "m"), "lead time (minutes)"),
        (0.05, "lead time (model time units)"),
    ],
    ids=["hours", "days", "minutes", "model time"],
)
def test_lead_times_are_labelled_in_units_that_suit_them(step, label):
    forecast = make_forecast(step=step)
    assert stgate.plot.fan(forecast).axes[0].get_xlabel() == label
    picture = stgate.plot.hovmoeller(forecast)
    assert label in [axes.get_xlabel() for axes in picture.axes]


def test_a_hovmoeller_shows_truth_forecast_and_error_over_nodes():
    forecast = make_forecast()
    figure = stgate.plot.hovmoeller(forecast, init=1)
    pictures = {a.get_title(loc="left"): a for a in figure.axes if a.get_title(loc="left")}
    titles = ["observed pm25 (ug/m3)", "forecast mean pm25 (ug/m3)", "forecast minus observed (grey: missing)"]
    assert list(pictures) == titles
    chosen = forecast.isel(init_time=1)
    error = (chosen["pm25_mean"] - chosen["pm25_truth"]).transpose("node", "lead_time")
    drawn = np.asarray(pictures[titles[2]].collections[0].get_array()).reshape(error.shape)
    np.testing.assert_allclose(drawn, error)
    limits = pictures[titles[2]].collections[0].get_clim()
    assert limits[0] == -limits[1]  # no error is white
    assert [t.get_text() for t in pictures[titles[2]].get_yticklabels()] == ["Dongsi", "Tiantan", "Guanyuan"]


def test_numbered_nodes_have_an_axis_and_a_lyapunov_time_is_told():
    forecast = make_forecast(step=0.05, nodes=range(8)).assign_attrs(lyapunov_exponent=1.6)
    figure = stgate.plot.hovmoeller(forecast)
    assert "node" in [a.get_ylabel() for a in figure.axes]
    assert any("1 Lyapunov time = 0.62" in a.get_xlabel() for a in figure.axes)


def test_one_member_of_several_is_shown():
    forecast = make_forecast(members=2)
    assert isinstance(stgate.plot.fan(forecast, member=1), Figure)
    assert isinstance(stgate.plot.hovmoeller(forecast, member=1), Figure)
    with pytest.raises(RequestError, match="members 0 to 1"):
        stgate.plot.fan(forecast, member=2)


def test_numbered_nodes_may_be_given_as_text():
    forecast = make_forecast(nodes=(7, 8, 9))
    assert "node 8" in stgate.plot.fan(forecast, node="8").axes[0].get_title(loc="left")


@pytest.mark.parametrize("draw", [stgate.plot.fan, stgate.plot.hovmoeller], ids=["fan", "hovmoeller"])
def test_pictures_are_saved_as_png(draw, tmp_path):
    draw(make_forecast()).savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", [stgate.plot.fan, stgate.plot.hovmoeller], ids=["fan", "hovmoeller"])
def test_a_forecast_with_gaps_is_drawn(draw, tmp_path):
    forecast = make_forecast()
    forecast["pm25_truth"][1, 2:4] = np.nan
    forecast["pm25"][1, 4, 0] = np.nan
    forecast["pm25_mean"][1, 4, 0] = np.nan
    draw(forecast, init=1).savefig(tmp_path / "picture.png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"node": "Dongsy"}, "did you mean Dongsi"),
        ({"target": "pm10"}, "target 'pm10'"),
        ({"init": 3}, "3 origins"),
        ({"init": "2021-01-01"}, "no origin at this time"),
        ({"init": "yesterday"}, "no origin at this time"),
    ],
    ids=str,
)
def test_what_is_not_in_the_forecast_is_refused(options, message):
    with pytest.raises(RequestError, match=message):
        stgate.plot.fan(make_forecast(), **options)


def test_a_hovmoeller_without_truth_is_refused():
    with pytest.raises(ForecastError, match="carries no truth"):
        stgate.plot.hovmoeller(make_forecast().drop_vars("pm25_truth"))


def test_an_origin_that_was_not_forecast_is_refused():
    forecast = make_forecast()
    for name in forecast.data_vars:
        forecast[name][0] = np.nan
    with pytest.raises(ForecastError, match="all values are missing"):
        stgate.plot.hovmoeller(forecast, init=0)


def test_a_panel_is_not_mistaken_for_a_forecast(panel):
    for draw in (stgate.plot.fan, stgate.plot.hovmoeller):
        with pytest.raises(ForecastError, match="make a forecast of a panel"):
            draw(panel)


@pytest.mark.parametrize("draw", [stgate.plot.fan, stgate.plot.hovmoeller])
def test_a_reconstruction_is_drawn_against_time(draw):
    time = np.arange("2020-01-01", "2020-01-11", dtype="datetime64[D]").astype("datetime64[ns]")
    values = np.random.default_rng(0).standard_normal((10, 2))
    variables = {"y_mean": (("time", "node"), values), "y_truth": (("time", "node"), values)}
    variables["y"] = (("time", "node", "quantile"), values[..., None] + [-1.0, 0.0, 1.0])
    filled = xr.Dataset(variables, {"time": time, "node": ["a", "b"], "quantile": [0.05, 0.5, 0.95]})
    axes = draw(filled).axes
    assert "time" in [a.get_xlabel() for a in axes]
    with pytest.raises(RequestError, match="no origins"):
        draw(filled, init=2)
