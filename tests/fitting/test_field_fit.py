"""The automatic fit of scattered times: a field alone; a step with absent rows stays a step."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import make_panel

import stgate
from stgate.__main__ import main
from stgate.errors import PanelError, RequestError
from stgate.fitting import field_fit
from stgate.fitting.field_fit import follow_no_step
from stgate.models import CGLUBNF


def scattered(steps=80) -> xr.Dataset:
    rng = np.random.default_rng(0)
    panel = make_panel(steps=steps)[["y"]]
    seconds = np.cumsum(rng.uniform(1800, 9000, steps)).round()
    return panel.assign_coords(time=pd.Timestamp("2020-01-01") + pd.to_timedelta(seconds, unit="s"))


def test_scattered_times_follow_no_step_and_absent_rows_do():
    panel = make_panel(steps=100)
    assert follow_no_step(scattered())
    assert not follow_no_step(panel)
    assert not follow_no_step(panel.isel(time=np.flatnonzero(np.arange(100) % 7 != 3)))
    months = panel.assign_coords(time=pd.date_range("2000-01-01", periods=100, freq="MS"))
    assert not follow_no_step(months)
    assert not follow_no_step(panel.isel(time=slice(0, 2)))


def test_a_field_is_fitted_alone_and_written(tmp_path, monkeypatch):
    usual = field_fit.fit_forecaster
    monkeypatch.setattr(field_fit, "fit_forecaster", lambda *a, **k: usual(*a, **{**k, "epochs": 1}))
    monkeypatch.setattr(field_fit, "CGLUBNF", lambda: CGLUBNF(width=16))
    lines = []
    made = stgate.fit(scattered(), targets="y", horizon=1, window=24, out=tmp_path, tell=lines.append)
    assert lines[0] == "times follow no step: a field (CGLUBNF) is fitted alone"
    assert made.table.loc["CGLUBNF", "weight"] == 1
    filled = stgate.reconstruct(tmp_path / "best.ckpt", scattered(), levels=[0.5])
    assert np.isfinite(filled["y"]).all()


def test_a_field_forecasts_as_far_as_is_asked_for():
    for horizon in (1, 5, 24):
        data = field_fit.field_data(
            scattered(500), {"targets": "y", "horizon": horizon}, budget=None, calibration="auto", seed=0
        )
        assert data.spec.horizon == horizon


def test_what_a_field_does_not_take_is_refused_by_name():
    with pytest.raises(RequestError, match=r"window: times follow no step.*leave it out"):
        stgate.fit(scattered(), targets="y", window=12)
    with pytest.raises(RequestError, match="budget: times follow no step"):
        stgate.fit(scattered(), targets="y", budget=1)
    with pytest.raises(RequestError, match="calibration: times follow no step"):
        stgate.fit(scattered(), targets="y", calibration="cross")
    with pytest.raises(PanelError, match="time jumps"):
        stgate.fit(make_panel(steps=100).isel(time=np.flatnonzero(np.arange(100) % 7 != 3)), targets="y")


def test_a_wrong_request_for_a_field_is_one_line_and_leaves_no_folder(tmp_path, capsys):
    scattered().to_netcdf(tmp_path / "p.nc")
    given = ["--model", "auto", "--data.panel", str(tmp_path / "p.nc"), "--data.horizon", "1"]
    for wrong, says in ((["--data.targets", "[z]"], "`z`"), (["--data.targets", "[y]", "--budget", "1"], "budget")):
        assert main(["fit", *given, *wrong, "--out", str(tmp_path / "run")]) == 2
        message = capsys.readouterr().err.strip()
        assert says in message and "\n" not in message
        assert not (tmp_path / "run").exists()
