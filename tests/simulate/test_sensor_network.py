"""The sensor network: its truth against scipy, its cycles, its noise, and places without a station."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

from stgate.errors import RequestError, SimulationWarning
from stgate.simulate import sensor_network
from stgate.simulate.counting import member_stream
from stgate.simulate.system import Place
from stgate.simulate.systems.sensor_network import GRID, SensorNetwork


def test_the_truth_is_the_solution_of_the_equation_also_at_places_without_a_station():
    # The field on the grid by scipy, with the wind and the cycles of each step as the class describes them.
    system = SensorNetwork(stations=3, places=2)
    rng = np.random.default_rng(0)
    field = 10 + rng.random((GRID, GRID))
    state = system.encode(field.reshape(1, -1))
    stepper = system.stepper(state, step=1.0, place=Place(seed=3))
    nodes, sources = system.layout(3)[3], system.sources(3)
    kx, ky = system.waves

    def tendency(hour, wind):
        day, year = 2 * np.pi * hour / 24, 2 * np.pi * hour / 8766
        emission = (1 - 0.4 * np.cos(day) - 0.3 * np.cos(2 * day - 2.0)) * (1 + 0.4 * np.cos(year))
        dilution = (1 - 0.6 * np.cos(day - 0.5)) / 16.0

        def slope(_, flat):
            c = flat.reshape(GRID, GRID // 2 + 1)
            advection = 1j * (wind.real * kx + wind.imag * ky) * c
            diffusion = 5.0 * (kx**2 + ky**2) * c
            return (-advection - diffusion - c * dilution + emission * sources).ravel()

        return slope

    spectrum = state[0, :-1]
    for step in range(5):
        stepper.advance(1)
        hour = stepper.epoch + step + 0.5
        wind = 4 + 2j + 5 * np.exp(2j * np.pi * hour / 24) + stepper.wander[0]
        spectrum = solve_ivp(tendency(hour, wind), (0, 1), spectrum, rtol=1e-10, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(stepper.spectra[0, 0], spectrum, atol=1e-8)
    out = np.empty((1, 4, 5))
    stepper.read(out)
    weight = np.where(np.isin(np.arange(GRID // 2 + 1), (0, GRID // 2)), 1.0, 2.0)
    half = spectrum.reshape(GRID, -1) * weight
    for node, (x, y) in enumerate(nodes):
        assert out[0, 1, node] == pytest.approx((half * np.exp(1j * (kx * x + ky * y))).sum().real, rel=1e-9)


def test_a_year_has_days_winters_and_instruments_of_the_noise_that_was_asked_for():
    panel = sensor_network(stations=20, places=3, noise=0.2, duration=8784.0, seed=2).isel(member=0)
    truth = panel["pm25_truth"].astype("float64")
    assert float(truth.min()) > 0
    hours = truth.mean("node").groupby("time.hour").mean()
    assert float(hours.max() / hours.min()) > 1.15
    months = truth.mean("node").groupby("time.month").mean()
    assert float(months.sel(month=[12, 1, 2]).mean() / months.sel(month=[6, 7, 8]).mean()) > 1.5
    measured = panel["pm25"].astype("float64").isel(node=slice(20))
    logs = np.log(measured / truth.isel(node=slice(20)))
    assert float(logs.std()) == pytest.approx(0.2, rel=0.02)
    assert float((measured / truth.isel(node=slice(20))).mean()) == pytest.approx(1.0, abs=0.005)
    assert panel["pm25"].isel(node=slice(20, None)).isnull().all()
    assert panel["station"].values.tolist() == [True] * 20 + [False] * 3


def test_near_stations_are_more_alike_than_far_ones():
    panel = sensor_network(stations=30, duration=2400.0, noise=0.0, seed=1).isel(member=0)
    values = panel["pm25_truth"].values.astype("float64")
    alike = np.corrcoef(values.T)
    x, y = panel["x"].values, panel["y"].values
    gap = np.hypot(*(np.minimum(d, 100 - d) for d in (np.abs(x[:, None] - x), np.abs(y[:, None] - y))))
    near, far = (gap > 0) & (gap < 12), gap > 45
    assert alike[near].mean() > alike[far].mean() + 0.2


def test_more_places_move_no_station_of_the_same_seed():
    few, many = (sensor_network(stations=4, places=p, duration=24.0, noise=0.0) for p in (0, 3))
    np.testing.assert_array_equal(many["x"].values[:4], few["x"].values)
    np.testing.assert_allclose(many["pm25_truth"].values[..., :4], few["pm25_truth"].values, rtol=1e-6)


def test_the_calendar_starts_where_it_was_told_and_a_step_may_be_half_an_hour():
    panel = sensor_network(stations=2, start="2021-06-01T12:00", step=0.5, duration=6.0)
    assert str(panel["time"].values[0])[:16] == "2021-06-01T12:00"
    assert np.unique(np.diff(panel["time"].values)).astype("timedelta64[m]").tolist() == [np.timedelta64(30, "m")]


def test_a_panel_tells_all_constants_of_its_truth():
    panel = sensor_network(stations=2, start=np.datetime64("2021-01-01"), duration=24.0, seed=5)
    again = sensor_network(stations=2, start="2021-01-01", duration=24.0, seed=5)
    xr.testing.assert_identical(panel, again)
    sources = json.loads(panel.attrs["sources"])
    assert len(sources) == 6 and set(sources[0]) == {"q", "x", "y", "s"}
    assert {"emission", "dilution", "wind", "diffusivity"} <= set(panel.attrs)
    assert panel.attrs["units_of_duration_step_spinup"] == "h"


def test_the_layout_does_not_depend_on_the_member_but_the_weather_does():
    panel = sensor_network(stations=3, members=2, duration=48.0)
    assert panel["x"].dims == ("node",)
    assert not np.allclose(panel["wind_u"].values[0], panel["wind_u"].values[1])
    assert member_stream("sensor_network", 0, 0).random() != member_stream("sensor_network", 0, 1).random()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"stations": 0}, "stations 0"),
        ({"places": -1}, "places -1"),
        ({"size": 5.0}, "at least 20"),
        ({"noise": -0.1}, "noise -0.1"),
        ({"start": "someday"}, "not a time"),
        ({"start": "2020-01-01T00:00Z"}, "no time zone"),
        ({"start": "1500-01-01"}, "between the years"),
        ({"step": 48.0, "duration": 96.0}, "step 48"),
    ],
)
def test_a_wrong_request_is_named(options, word):
    with pytest.raises(RequestError, match=word):
        sensor_network(**{"duration": 24.0, **options})


def test_a_long_step_is_warned_about():
    with pytest.warns(SimulationWarning, match="constant over a step"):
        sensor_network(stations=2, step=6.0, duration=24.0)


MANY = {"stations": 6, "places": 2, "pollutants": 3, "missing": 0.3, "duration": 1440.0, "seed": 5}


def test_further_pollutants_leave_the_first_as_it_is_and_have_sources_of_their_own():
    one = sensor_network(**{**MANY, "pollutants": 1, "missing": 0.0})
    many = sensor_network(**{**MANY, "missing": 0.0})
    assert list(many)[:6] == ["pm25", "pm10", "no2", "pm25_truth", "pm10_truth", "no2_truth"]
    np.testing.assert_allclose(many["pm25_truth"], one["pm25_truth"], rtol=1e-6)
    assert many.attrs["sources"] == one.attrs["sources"] != many.attrs["sources_pm10"]
    first = many["pm25_truth"].values.ravel()
    apart = [np.corrcoef(first, many[f"{name}_truth"].values.ravel())[0, 1] for name in ("pm10", "no2")]
    assert max(apart) < 0.95


@pytest.mark.parametrize("missing", [0.1, 1 / 3, 0.5, 0.8])
def test_the_share_that_is_missing_lies_in_gaps_of_stations(missing):
    panel = sensor_network(**{**MANY, "stations": 60, "missing": missing, "kept": ("measured",)})
    gone = np.isnan(panel["no2"].values[0, :, :60])
    assert gone.mean() == pytest.approx(missing, abs=0.03)
    runs = (np.diff(gone.astype(int), axis=0) == 1).sum() + gone[0].sum()
    assert gone.sum() / runs > 40 * missing, "gaps are long"
    assert list(panel) == ["pm25", "pm10", "no2"]


def test_gaps_and_pollutants_have_the_same_bits_in_one_piece_and_resumed(tmp_path, monkeypatch):
    whole = sensor_network(**MANY)
    streamed = sensor_network(**MANY, out=tmp_path / "s.zarr")
    xr.testing.assert_equal(streamed.load(), whole)
    split = sensor_network(**MANY, members=2, workers=2)
    xr.testing.assert_equal(split.isel(member=[0]), whole)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("pollutants", 0, "pollutants 0"),
        ("pollutants", 7, "between 1 and 6"),
        ("missing", 1.0, "missing 1"),
        ("missing", -0.1, "missing -0.1"),
        ("missing", float("nan"), "missing nan"),
        ("kept", ("measure",), "measured"),
        ("kept", (), "at least one"),
        ("kept", ("wind", "wind"), "once"),
    ],
)
def test_wrong_pollutants_gaps_and_parts_are_refused(option, value, said):
    with pytest.raises(RequestError, match=said):
        SensorNetwork(**{option: value})
