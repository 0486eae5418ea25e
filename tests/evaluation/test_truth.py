"""Forecasts held against a panel's values, where they carry none or others are wanted."""

import json

import numpy as np
import pytest
import xarray as xr
from helpers import make_forecast, truth_of

import stgate
from stgate.errors import PanelError, RequestError


def test_a_panel_scores_a_forecast_as_its_own_truth_would():
    forecast = make_forecast()
    panel = truth_of(forecast).isel(node=slice(None, None, -1))  # nodes in another order
    own, given = stgate.evaluate(forecast), stgate.evaluate(forecast.drop_vars("y_truth"), truth=panel["y"])
    xr.testing.assert_allclose(own, given)


def test_times_and_nodes_that_the_panel_lacks_are_not_scored():
    forecast = make_forecast(missing=0.0)
    panel = truth_of(forecast).isel(time=slice(2, None), node=[1])
    assert int(stgate.evaluate(forecast, truth=panel["y"])["count"]) == len(panel["time"])


def test_given_truth_takes_the_place_of_what_the_forecast_carries():
    forecast = make_forecast(missing=0.0)
    panel = truth_of(forecast) + 1.0
    scores = stgate.evaluate(forecast, truth=panel["y"])
    error = forecast["y_truth"] + 1.0 - forecast["y"].sel(quantile=0.5)
    assert float(scores["mae"]) == pytest.approx(float(abs(error).mean()))


def test_model_times_may_differ_by_rounding():
    forecast = make_forecast(missing=0.0)
    lead = 0.1 * np.arange(1, 4)
    valid = np.arange(4)[:, None] + lead
    coords = {"init_time": np.arange(4.0), "lead_time": lead, "valid_time": (("init_time", "lead_time"), valid)}
    forecast = forecast.assign_coords(coords)
    panel = truth_of(forecast)
    rounded = panel.assign_coords(time=panel["time"] * (1 + 1e-15))
    assert not np.array_equal(panel["time"], rounded["time"])
    assert int(stgate.evaluate(forecast, truth=rounded["y"])["count"]) == panel["y"].size
    with pytest.raises(RequestError, match="no time in common"):
        stgate.evaluate(forecast, truth=panel.assign_coords(time=panel["time"] + 0.03)["y"])


def test_members_are_held_against_their_own_truth():
    one = make_forecast(missing=0.0)
    forecast = xr.concat([one, one + 1.0], "member", data_vars="all").assign_coords(member=[0, 1])
    truth = xr.concat([truth_of(one), truth_of(one) + 1.0], "member").assign_coords(member=[0, 1])["y"]
    both = stgate.evaluate(forecast, by="member", truth=truth.isel(member=[1, 0]))
    np.testing.assert_allclose(both["mae"], float(stgate.evaluate(one)["mae"]))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda truth: truth.values, "node; got ndarray"),
        (lambda truth: truth.isel(node=0), r"got \('time',\)"),
        (lambda truth: truth.assign_coords(node=["c", "d"]), "no node in common"),
        (lambda truth: truth.assign_coords(time=truth["time"] + np.timedelta64(9000, "D")), "no time in common"),
        (lambda truth: truth.assign_coords(time=np.arange(12.0)), "forecast has calendar time, .* model time"),
        (lambda truth: truth.expand_dims(member=[0]), "no member in common"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(change, what):
    forecast = make_forecast()
    with pytest.raises(RequestError, match=what):
        stgate.evaluate(forecast, truth=change(truth_of(forecast)["y"]))


def test_the_command_scores_what_was_hidden(stgate_command, tmp_path):
    forecast = make_forecast(missing=0.0)
    panel = truth_of(forecast)
    panel["y_hidden"] = panel["y"].where(panel["node"] == "a")
    stgate.write(panel, tmp_path / "masked.nc")
    stgate.write(forecast.drop_vars("y_truth"), tmp_path / "f.nc")
    code, out, err = stgate_command("evaluate", tmp_path / "f.nc")
    assert code == 2 and "--truth" in err
    about = ("evaluate", tmp_path / "f.nc", "--truth", tmp_path / "masked.nc")
    code, out, err = stgate_command(*about, "--truth-variable", "y_hidden", "--by", "node", "--json")
    assert code == 0, err
    assert [row["count"] for row in json.loads(out)] == [len(panel["time"]), 0]
    code, out, err = stgate_command(*about, "--truth-variable", "y_hiden")
    assert code == 2 and err.count("\n") == 1 and "did you mean y_hidden?" in err
    code, out, err = stgate_command("evaluate", tmp_path / "f.nc", "--truth-variable", "y_hidden")
    assert code == 2 and "add --truth PANEL" in err


def test_what_mask_hid_scores_a_reconstruction():
    network = stgate.simulate.sensor_network(stations=5, duration=48, seed=0)[["pm25"]]
    masked, hidden = stgate.panels.missing.mask(network, "pm25", pattern="point", rate=0.2, seed=0)
    filled = network["pm25"] + 1.0
    filled = filled.expand_dims(quantile=[0.05, 0.5, 0.95])
    made = xr.Dataset({"pm25": filled, "pm25_mean": network["pm25"] + 1.0, "pm25_truth": masked["pm25"]})
    scores = stgate.evaluate(made, truth=network["pm25"].where(hidden))
    assert int(scores["count"]) == int(hidden.sum()) and float(scores["mae"]) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("dim", ["time", "node"])
def test_truth_that_comes_twice_is_refused_and_the_mend_keeps_one(dim):
    forecast = make_forecast()
    truth = truth_of(forecast)["y"]
    twice = xr.concat([truth, truth], dim)
    with pytest.raises(RequestError, match=f"the {dim} .* appears twice") as refused:
        stgate.evaluate(forecast, truth=twice)
    mended = eval(str(refused.value).split("keep one with ")[1], {"truth": twice})
    xr.testing.assert_identical(stgate.evaluate(forecast, truth=mended), stgate.evaluate(forecast, truth=truth))


@pytest.mark.parametrize("panel", [None, np.zeros(3), 3, {"a": 1}, xr.DataArray(1.0)])
def test_what_is_no_panel_is_refused_by_its_kind(panel):
    with pytest.raises(
        PanelError, match=rf"a panel is an xarray.Dataset, or a file's path, got {type(panel).__name__}"
    ):
        stgate.open_panel(panel)
