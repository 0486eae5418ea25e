"""Ridge with its defaults on daily PM10 in Germany, one day ahead; about 20 seconds, reading included."""

import numpy as np
import pytest
from helpers import card_command

import stgate

BY_HAND = 7.11
"""RMSE of a ridge by hand, a fit for each station, on the same 27,866 cases: benchmarks/results/german_pm10.md."""


@pytest.mark.slow
def test_ridge_with_defaults_is_better_one_day_ahead_than_a_ridge_by_hand(shared, stgate_command, tmp_path):
    panel, run = tmp_path / "pm10.nc", tmp_path / "run"
    assert stgate_command(*card_command("german_pm10", shared / "data" / "german_pm10", panel))[0] == 0
    record = stgate.open_panel(panel)
    early = record["pm10"].sel(time=slice(None, "2006-12-31"))
    record.sel(node=record["node"][early.notnull().any("time").values]).to_netcdf(panel)
    data = ["--data.panel", panel, "--data.targets", "pm10", "--data.horizon", "1"]
    split = "[2006-01-01,2007-01-01,2008-01-01]"
    code, _, err = stgate_command("fit", "--model", "Ridge", *data, "--data.split", split, "--out", run)
    assert code == 0, err
    model = stgate.load(run / "best.ckpt")
    made = stgate.backtest(model, stgate.open_panel(panel), start="2008-01-01", end="2009-12-31").isel(lead_time=0)
    error = (made["pm10_mean"] - made["pm10_truth"]).values
    print(f"RMSE {np.sqrt(np.nanmean(error**2)):.3f} on {np.isfinite(error).sum():,} cases")
    assert np.isfinite(error).sum() >= 27_866
    assert np.sqrt(np.nanmean(error**2)) <= BY_HAND
