"""Forecasts of monthly, quarterly and yearly records: true dates, whole months ahead, on every command."""

import dataclasses
import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import fit, fitted, one_line, refusal, says, small_field

import stgate
from stgate.data import FieldData, WindowData
from stgate.distributions import Anomaly
from stgate.errors import PanelError
from stgate.models import Climatology, Persistence, Ridge
from stgate.schema.spec import PanelSpec


def record(freq="ME", count=240, start="1990-01-01", noise=0.1) -> xr.Dataset:
    """A season by month and a level for each of three nodes with coordinates."""
    times = pd.date_range(start, periods=count, freq=freq)
    season = np.array([0, 1, 3, 6, 9, 11, 12, 11, 8, 5, 2, 1.0])[times.month - 1][:, None]
    y = season + np.array([0, 5, -3.0]) + noise * np.random.default_rng(0).standard_normal((count, 3))
    coords = {"time": times, "node": list("abc"), "lat": ("node", [50, 51, 52.0]), "lon": ("node", [8, 9, 10.0])}
    return xr.Dataset({"y": (("time", "node"), y.astype("float32"), {"units": "degC"})}, coords)


def windows(panel, window=12, horizon=6, **options) -> WindowData:
    return WindowData(panel, targets="y", window=window, horizon=horizon, **options)


@cache
def ridge() -> Ridge:
    return fitted(Ridge(), windows(record()))


def test_a_forecast_has_true_dates_and_whole_months_ahead():
    forecast = stgate.forecast(ridge(), record())
    assert forecast["lead_time"].values.tolist() == [1, 2, 3, 4, 5, 6]
    assert forecast["lead_time"].attrs["units"] == "months"
    valid = forecast["valid_time"].values[0].astype("datetime64[D]").astype(str).tolist()
    assert valid == ["2010-01-31", "2010-02-28", "2010-03-31", "2010-04-30", "2010-05-31", "2010-06-30"]


@pytest.mark.parametrize(
    ("freq", "months", "valid"),
    [("QS", 3, ["2030-01-01", "2030-04-01"]), ("YS", 12, ["2110-01-01", "2111-01-01"]),
     ("2ME", 2, ["2010-01-31", "2010-03-31"])],
)  # fmt: skip
def test_quarters_and_years_are_months_too(freq, months, valid):
    panel = record(freq, 120 if freq == "2ME" else {"QS": 160, "YS": 120}[freq])
    model = fitted(Persistence(), windows(panel, window=4, horizon=2))
    forecast = stgate.forecast(model, panel)
    assert forecast["lead_time"].values.tolist() == [months, 2 * months]
    assert forecast["valid_time"].values[0].astype("datetime64[D]").astype(str).tolist() == valid


def test_middles_of_months_are_followed_by_middles():
    starts = pd.date_range("1990-01-01", periods=241, freq="MS").values
    panel = record().assign_coords(time=starts[:-1] + np.diff(starts) // 2)
    forecast = stgate.forecast(fitted(Persistence(), windows(panel)), panel)
    assert str(forecast["valid_time"].values[0, 1])[:16] == "2010-02-15T00:00"


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_lead_times_in_months_survive_a_file(tmp_path, suffix):
    hindcast = stgate.backtest(ridge(), record(), start="2008")
    stgate.io.write(hindcast, tmp_path / f"hindcast{suffix}")
    again = stgate.open_forecast(tmp_path / f"hindcast{suffix}")
    assert again["lead_time"].dtype.kind == "i" and again["lead_time"].attrs["units"] == "months"
    xr.testing.assert_equal(again["valid_time"], hindcast["valid_time"])


def test_a_backtest_is_verified_by_the_dates_of_the_panel():
    panel = record()
    hindcast = stgate.backtest(ridge(), panel, start="2008")
    valid = hindcast["valid_time"].isel(init_time=5, lead_time=3).values
    np.testing.assert_array_equal(hindcast["y_truth"].isel(init_time=5, lead_time=3), panel["y"].sel(time=valid))
    scores = stgate.evaluate(hindcast, truth=panel["y"], by=["lead_time"], bootstrap=20)
    xr.testing.assert_equal(scores["crps"], stgate.evaluate(hindcast, by=["lead_time"])["crps"])
    assert float(scores["mae"].max()) < 0.5


@pytest.mark.parametrize("name", ["GatedRNN", "GatedTransformer", "STHSepNet"])
@pytest.mark.parametrize("freq", ["MS", "QE"])
def test_each_network_runs_on_months(name, freq):
    panel = record(freq)
    model = fitted(getattr(stgate.models, name)(), windows(panel), limit_train_batches=1, limit_val_batches=1)
    forecast = stgate.forecast(model, panel)
    assert bool(np.isfinite(forecast["y"]).all())
    expected = panel.indexes["time"][-1] + np.arange(1, 7) * pd.tseries.frequencies.to_offset(freq)
    assert forecast["valid_time"].values[0].tolist() == pd.DatetimeIndex(expected).values.tolist()


@pytest.mark.parametrize("mode", ["rolling", "adaptive"])
def test_online_intervals_run_on_months(mode):
    hindcast = stgate.backtest(ridge(), record(), start="2008", calibration=mode, calibration_window=20)
    assert bool(hindcast["y"].notnull().any())


@pytest.mark.parametrize("given", ["2008-03", "2008-03-31"])
def test_an_origin_is_named_by_its_month(given):
    from stgate.evaluation import plot

    hindcast = stgate.backtest(ridge(), record(), start="2008")
    figure = plot.fan(hindcast, init=given)
    assert "2008-03-31" in figure.axes[0].get_title(loc="left") and "months" in figure.axes[-1].get_xlabel()


def test_climatology_is_by_month():
    panel = record()
    model = fitted(Climatology(), windows(panel))
    forecast = stgate.forecast(model, panel)
    train = panel["y"].isel(time=slice(0, 144))
    median = train.groupby("time.month").median().sel(month=[1, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(forecast["y_mean"].values[0], median.values, atol=1e-5)


def test_climatology_of_years_is_one_cell():
    panel = record("YS", 60, "1960-01-01")
    data = windows(panel, window=4, horizon=2)
    assert data.cell_means().shape[0] == 1 and data.spec.calendar == ()
    assert windows(record("QS", 160)).cell_means().shape[0] == 12


@pytest.mark.parametrize("freq", ["ME", "QS", "6MS", "YS"])
def test_harmonics_of_a_year_stay_below_half_a_step_and_are_exact(freq):
    panel = record(freq, 160, noise=0.0, start="1850-01-01")
    data = windows(panel, window=4, horizon=2)
    model = fitted(Ridge(transforms=[Anomaly(harmonics=6)]), data)
    frequency = model.predictor.transform.state(0)["frequency"]
    assert bool((frequency * data.spec.step <= np.pi * (1 + 1e-9)).all())
    transform = model.predictor.transform
    found = transform.transforms[0].bind(transform.state(0), data.series.clock.time[None])[..., 0]
    assert float((found - data.series.values).abs().max()) < 0.02  # the season is a function of the month


def test_a_monthly_transform_survives_a_checkpoint(tmp_path):
    data = windows(record())
    model = Ridge(transforms=[Anomaly()])
    fit(model, data).save_checkpoint(tmp_path / "anomaly.ckpt")
    xr.testing.assert_equal(stgate.forecast(tmp_path / "anomaly.ckpt", record()), stgate.forecast(model, record()))


def test_a_store_that_is_read_in_blocks_gives_the_same(tmp_path):
    panel = xr.concat([record().assign_coords(node=[f"{n}{i}" for n in "abc"]) for i in range(30)], "node")
    panel = panel.drop_vars(["lat", "lon"])
    stgate.io.write(panel, tmp_path / "panel.zarr")
    model = fitted(Ridge(), windows(panel))
    whole = stgate.forecast(model, panel)
    blocks = stgate.forecast(model, tmp_path / "panel.zarr", max_memory=0.15)
    xr.testing.assert_allclose(blocks.drop_attrs(), whole.drop_attrs(), atol=1e-5)


def test_a_field_of_months_reconstructs_and_forecasts():
    panel = record(count=120)
    holes = panel.copy(deep=True)
    holes["y"][50:53, 0] = np.nan
    data = FieldData(holes, targets="y", context=6, horizon=3)
    model = fitted(small_field(), data)
    steps = (model.predictor._inputs(next(iter(data.part_dataloader("test"))), 0, torch.arange(3)).time * 1.0).ravel()
    assert torch.isfinite(steps).all()
    filled = stgate.reconstruct(model, holes)
    assert bool(filled["y_mean"].notnull().all())
    assert str(stgate.forecast(model, holes)["valid_time"].values[0, 1])[:10] == "2000-02-29"
    assert model.predictor._seasons(data.spec) == [(12.0, 4)]
    assert model.predictor._seasons(dataclasses.replace(data.spec, months=12, step=12 * data.spec.step)) == []


def test_a_field_without_context_takes_absent_months():
    panel = record(count=60).drop_isel(time=[5, 6, 20])
    model = fitted(small_field(), FieldData(panel, targets="y"))
    assert bool(stgate.reconstruct(model, panel)["y_mean"].notnull().all())


def test_old_specs_have_no_months():
    spec = windows(record()).spec
    assert spec.months == 1 and PanelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    old = {name: value for name, value in spec.to_dict().items() if name != "months"}
    assert PanelSpec.from_dict(old).months == 0


def test_a_panel_of_another_step_is_refused():
    message = refusal(PanelError, stgate.forecast, ridge(), record("QS", 80))
    says(message, "the panel's step is 3 months, the forecaster was fitted on steps of 1 month")
    days = xr.concat([record("D", 80)], "time")
    says(refusal(PanelError, stgate.forecast, ridge(), days), "the panel's step is 24h")


def test_first_days_may_follow_a_fit_on_last_days():
    forecast = stgate.forecast(ridge(), record("MS"))  # the step is a month in both
    assert str(forecast["valid_time"].values[0, 0])[:10] == "2010-01-01"


def test_the_commands_on_a_monthly_table(stgate_command, tmp_path):
    def run(*arguments):
        code, out, err = stgate_command(*arguments)
        assert code == 0, err
        return out

    table, panel, hindcast = tmp_path / "monthly.csv", tmp_path / "monthly.nc", tmp_path / "hindcast.nc"
    values = record()["y"].to_pandas().rename_axis("time")
    values.to_csv(table, date_format="%Y-%m-%d")
    assert "240 steps of 1 month" in run("data", "convert", table, "--name", "y", "--out", panel)
    data = ("--data.panel", panel, "--data.targets", "[y]", "--data.window", 12, "--data.horizon", 12)
    run("fit", "--model", "Ridge", *data, "--out", tmp_path / "run")
    given = ("--checkpoint", tmp_path / "run" / "best.ckpt")
    run("forecast", panel, *given, "--out", tmp_path / "forecast.nc")
    run("backtest", panel, *given, "--from", "2007-02", "--to", "2009-06", "--out", hindcast)
    opened = stgate.open_forecast(hindcast)
    assert (opened.attrs["valid_from"][:10], opened.attrs["valid_to"][:10]) == ("2007-02-28", "2009-06-30")
    rows = json.loads(run("evaluate", hindcast, "--by", "lead_time", "--json"))
    assert [row["lead_months"] for row in rows] == list(range(1, 13))
    run("evaluate", hindcast, "--bootstrap", 10)
    run("plot", hindcast, "--kind", "hovmoeller", "--init", "2007-06", "--out", tmp_path / "plot.png")
    run("calibrate", panel, *given, "--from", "2005", "--out", tmp_path / "again.ckpt")
    split = ("--data.split", "[2003-01-01, 2005-01, 2007]")
    run("fit", "--model", "Climatology", *data, *split, "--out", tmp_path / "climatology")
    one_line(
        stgate_command("backtest", panel, *given, "--from", "2030", "--out", tmp_path / "none.nc"), "outside the panel"
    )


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_years_before_nanoseconds_go_the_whole_road(stgate_command, tmp_path, suffix):
    panel = record("YS", 400).assign_coords(
        time=(1000 + np.arange(400) - 1970).astype("datetime64[Y]").astype("datetime64[s]")
    )
    stgate.io.write(panel, tmp_path / f"past{suffix}")
    opened = stgate.open_panel(tmp_path / f"past{suffix}")
    model = fitted(Persistence(), windows(opened, window=4, horizon=2))
    hindcast = stgate.backtest(model, opened, start="1390")
    stgate.io.write(hindcast, tmp_path / f"hindcast{suffix}")
    code, out, err = stgate_command("evaluate", tmp_path / f"hindcast{suffix}", "--by", "lead_time")
    assert code == 0 and "lead_months" in out, err
    assert str(hindcast["valid_time"].values[-1, -1])[:4] == "1400" and bool(hindcast["y_truth"].notnull().any())
