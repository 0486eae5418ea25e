"""Calibrate: what is stored, what it covers, and what is refused."""

import numpy as np
import pytest
import torch
from conftest import make_panel
from test_forecasting import HORIZON, WINDOW, make_model, same

import stgate
from stgate.data.modules import WindowData
from stgate.errors import RequestError
from stgate.models import Persistence


@pytest.fixture(scope="module")
def calibrated():
    panel = make_panel(steps=400)
    model, data = make_model(panel)
    coverage = stgate.calibrate(model, data, levels=[0.9, 0.5, 0.8])
    return model, data, panel, coverage


def test_calibration_takes_every_origin_whatever_the_stride_of_evaluation():
    every, sparse = (WindowData(make_panel(), "y", 6, 3, eval_every=k) for k in (1, 24))
    first, second = (sum(len(b["origin"]) for b in d.part_dataloader("calibration")) for d in (every, sparse))
    assert first == second > 24
    assert sum(len(b["origin"]) for b in sparse.val_dataloader()) < len(every._windows("validation")) / 10


def test_intervals_cover_the_calibration_part_at_least_nominally_and_hardly_more(calibrated):
    model, _, _, coverage = calibrated
    assert list(coverage) == [0.5, 0.8, 0.9]
    cases = int(model.calibration["cases"].min())
    for level, share in coverage.items():
        assert level <= share <= level + 2 / cases


def test_the_stored_factors_are_what_covers_in_a_backtest_of_the_calibration_part(calibrated):
    """The same number from the other road: forecast the part, count the hits."""
    model, data, panel, coverage = calibrated
    start, stop = data.parts.calibration
    times = panel["time"].values
    hindcast = stgate.backtest(model, panel, start=str(times[start]), end=str(times[stop - 1]), levels=[0.5, 0.8, 0.9])
    whole = hindcast["y_mean"].notnull().all(["lead_time", "node"])  # calibration takes whole windows only
    scores = stgate.evaluate(hindcast.sel(init_time=whole))
    for level, share in coverage.items():
        assert float(scores[f"coverage_{100 * level:g}"]) == pytest.approx(share, abs=2 / int(scores["count"]))


def test_calibrated_intervals_centre_on_the_median_and_grow_with_the_level(calibrated):
    model, _, panel, _ = calibrated
    y = stgate.forecast(model, panel, levels=[0.5, 0.8, 0.9])["y"]
    widths = [float((y.sel(quantile=1 - q) - y.sel(quantile=q)).min()) for q in (0.25, 0.1, 0.05)]
    assert 0 < widths[0] < widths[1] < widths[2]
    np.testing.assert_allclose((y.sel(quantile=0.05) + y.sel(quantile=0.95)) / 2, y.sel(quantile=0.5), rtol=1e-4)


def test_a_level_that_was_not_calibrated_is_refused_and_the_held_ones_are_named(calibrated):
    model, _, panel, _ = calibrated
    with pytest.raises(RequestError, match=r"level 0\.95: not calibrated; this checkpoint holds 0\.5, 0\.8, 0\.9"):
        stgate.forecast(model, panel, levels=[0.5, 0.95])


def test_a_calibration_is_named_in_the_forecast_and_travels_in_the_checkpoint(calibrated, tmp_path):
    model, _, panel, _ = calibrated
    model.save(tmp_path / "m.ckpt")
    forecast = stgate.forecast(tmp_path / "m.ckpt", panel, levels=[0.9])
    assert same(forecast, stgate.forecast(model, panel, levels=[0.9]))
    assert forecast.attrs["calibration"].startswith("split conformal")
    assert forecast.attrs["calibration_levels"] == "0.5, 0.8, 0.9"


def test_a_split_without_a_calibration_part_is_refused():
    model, data = make_model(make_panel(steps=120), split=(0.7, 0.15, 0.0, 0.15))
    with pytest.raises(RequestError, match="no calibration part"):
        stgate.calibrate(model, data)


def test_a_level_beyond_what_the_cases_support_is_refused_and_by_default_left_out():
    model, data = make_model(make_panel(steps=160))
    with pytest.raises(RequestError, match=r"level 0\.999: needs 999 observed cases"):
        stgate.calibrate(model, data, levels=[0.5, 0.999])
    assert model.calibration is None
    held = list(stgate.calibrate(model, data))
    assert 0.9 in held and 0.99 not in held
    assert bool(torch.isfinite(model.calibration["factors"]).all())


def test_data_that_the_model_was_not_fitted_on_do_not_calibrate_it():
    model, _ = make_model(make_panel(steps=160))
    with pytest.raises(RequestError, match="not those that the forecaster was fitted on"):
        stgate.calibrate(model, WindowData(make_panel(steps=160), "y", WINDOW + 1, HORIZON))


def test_forecasts_that_are_missing_drop_out_of_the_calibration():
    panel = make_panel(steps=300, missing=0.4)
    model, data = make_model(panel, model=Persistence())
    coverage = stgate.calibrate(model, data, levels=[0.5, 0.9])
    assert 0.5 <= coverage[0.5] < 0.6
    assert 0.9 <= coverage[0.9] < 0.95
