"""A fit on all rows: what it gains, what its intervals cover, and the errors that it leaves for online intervals."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import make_panel

import stgate
from stgate.data.history import History
from stgate.fitting import fit_forecaster
from stgate.fitting.completion import Recorder, complete, keep_widths
from stgate.fitting.crossfit import HeldOut
from stgate.fitting.training import Length, train
from stgate.forecasting.warm_up import known_errors, warm_up_rows
from stgate.prediction import past_errors
from stgate.prediction.past_errors import PastErrors
from stgate.prediction.predictor import Predictor

MODES = ("split", "refit", "cross")


def autoregression(steps, nodes=8, seed=0, common=0.0) -> xr.Dataset:
    """Independent autoregressions of order two with normal noise, daily; a share of its variance is common."""
    rng = np.random.default_rng(seed)
    noise = (1 - common) ** 0.5 * rng.standard_normal((steps + 50, nodes))
    noise += common**0.5 * rng.standard_normal((steps + 50, 1))
    y = np.zeros_like(noise)
    for t in range(2, len(y)):
        y[t] = 0.6 * y[t - 1] + 0.25 * y[t - 2] + noise[t]
    time = pd.date_range("2001-01-01", periods=steps, freq="D")
    return xr.Dataset({"y": (("time", "node"), y[50:])}, {"time": time, "node": np.arange(nodes)})


def data_of(panel, **options):
    return stgate.WindowData(
        panel, **{"targets": "y", "window": 4, "horizon": 2, "calendar": (), "batch_size": 256, **options}
    )


@pytest.fixture(scope="module")
def short():
    """Ridge on a short record, fitted in each way, and forecasts of the long test part that follows."""
    panel = autoregression(2400)
    split = [str(panel["time"].values[row])[:10] for row in (150, 170, 230)]
    made = {}
    for mode in MODES:
        model = stgate.Ridge()
        outcome = fit_forecaster(model, data_of(panel, split=split), calibration=mode)
        made[mode] = model, outcome, stgate.backtest(model, panel, start=split[2], levels=[0.5, 0.8, 0.9, 0.95])
    return made


@pytest.mark.parametrize("mode", MODES)
def test_intervals_of_each_way_cover_what_they_say(mode):
    """Over several records, since one calibration part of some ten independent nodes varies by two points."""
    found = []
    for seed in range(4):
        panel = autoregression(1400, nodes=12, seed=seed)
        split = [str(panel["time"].values[row])[:10] for row in (300, 340, 400)]
        model = stgate.Ridge()
        fit_forecaster(model, data_of(panel, split=split), calibration=mode)
        scores = stgate.evaluate(stgate.backtest(model, panel, start=split[2], levels=[0.5, 0.8, 0.9, 0.95]))
        found.append([float(scores[f"coverage_{level}"]) for level in (50, 80, 90, 95)])
    np.testing.assert_allclose(np.mean(found, 0), [0.5, 0.8, 0.9, 0.95], atol=0.015)


def test_a_fit_on_all_rows_forecasts_better_than_one_on_a_part(short):
    crps = {mode: float(stgate.evaluate(made)["crps"]) for mode, (_, _, made) in short.items()}
    assert crps["refit"] < crps["split"] and crps["cross"] < crps["split"]
    assert short["refit"][0].predictor.fingerprint() == short["cross"][0].predictor.fingerprint()


def test_the_way_is_written_into_the_forecast(short):
    assert {mode: (model.calibration.method, outcome.calibration) for mode, (model, outcome, _) in short.items()} == {
        "split": ("split conformal per lead time, per missingness group", "split"),
        "refit": ("split conformal, refitted on all, per lead time, per missingness group", "refit"),
        "cross": ("cross conformal over 5 blocks, refitted on all, per lead time, per missingness group", "cross"),
    }
    times = autoregression(2400)["time"].values
    for mode, seen in (("split", 169), ("refit", 229), ("cross", 229)):
        model, _, made = short[mode]
        assert np.datetime64(made.attrs["trained_until"]) == times[seen]
        assert (model.predictor.past_errors is None) == (mode == "split")


def test_a_checkpoint_holds_the_errors(short, tmp_path):
    model = short["cross"][0]
    model.save(tmp_path / "m.ckpt")
    held = stgate.load(tmp_path / "m.ckpt").past_errors
    torch.testing.assert_close(held.scores, model.predictor.past_errors.scores, equal_nan=True)
    assert torch.equal(held.since, model.predictor.past_errors.since)
    assert held.last == model.predictor.past_errors.last


def test_stored_errors_are_those_of_forecasts_of_fits_that_had_not_seen_them():
    panel = make_panel(300)
    data = data_of(panel, window=6, horizon=3)
    first, last = stgate.Ridge(), stgate.Ridge()
    length = train(first, data, seed=0)
    complete(last, first.predictor, data, how="refit", length=length, seed=0)
    rows = data.parts.validation[0], data.parts.calibration[1]
    history = History.of(panel, last.spec, None)
    past = last.predictor.past_errors
    assert past.last == float(history.series.clock.time[rows[1] - 3 - 1])
    hindcast = stgate.backtest(
        first, panel, start=str(panel["time"].values[rows[0]]), end=str(panel["time"].values[rows[1] - 1]), levels=[0.5]
    )
    error = abs(hindcast["y_truth"] - hindcast["y"].sel(quantile=0.5))
    origin = panel["time"].values[rows[0] + 10]
    spread = (hindcast["y"].sel(quantile=0.75) - hindcast["y"].sel(quantile=0.25)) / 2 / 0.6744898
    mine = (error / spread).sel(init_time=origin).values
    stored = past.scores[11, 0, :, :, 0].numpy()
    factor = np.nanmedian(stored / mine, 1, keepdims=True)  # by lead, as the last fit is as wide as the first
    np.testing.assert_allclose(stored, mine * factor, rtol=1e-4)
    assert 0.5 < factor.min() <= factor.max() < 2


@pytest.fixture(scope="module")
def refitted():
    panel = make_panel(300)
    model = stgate.Ridge()
    data = data_of(panel, window=6, horizon=3)
    fit_forecaster(model, data, calibration="cross", folds=3)
    return model.predictor, panel, data


@pytest.mark.parametrize("every", [1, 4])
def test_online_intervals_start_from_stored_errors_where_the_fit_has_seen_the_truth(refitted, every):
    predictor, panel, data = refitted
    history, test = History.of(panel, predictor.fitted_spec, None), data.parts.test[0]
    rows = np.arange(test - 1, 290, every)
    warm = warm_up_rows(predictor, history, rows[0], every, 20)
    assert (warm + 3 >= test).all()  # own forecasts only where some lead is new
    predicted = np.concatenate([warm, rows])
    known = known_errors(predictor, history, predicted, every, 20)
    assert len(known.before) == min(80 - len(predicted), (predicted[0] - 5) // every)
    past, origin = predictor.past_errors, predicted[0] - every  # the last one before
    last = test - 3 - 1
    expected = past.scores[len(past.scores) - 1 - (last - origin), 0, :, :, 0].numpy() if origin <= last else np.nan
    np.testing.assert_array_equal(known.before[-1, ..., 0].astype("float32"), expected)
    assert (known.seen == (predicted[:, None] + [1, 2, 3] < test)).all()


def test_a_panel_that_begins_after_the_fit_still_starts_from_stored_errors(refitted):
    predictor, panel, data = refitted
    new = panel.isel(time=slice(data.parts.test[0], None))
    history = History.of(new, predictor.fitted_spec, None)
    known = known_errors(predictor, history, np.arange(5, 30), 1, 50)
    assert np.isfinite(known.before).any() and not known.seen.any()
    whole = known_errors(
        predictor, History.of(panel, predictor.fitted_spec, None), np.arange(5, 30) + data.parts.test[0], 1, 50
    )
    np.testing.assert_array_equal(known.before, whole.before)


def test_adaptive_intervals_cover_from_the_first_forecast_on(short):
    """Without stored errors they would start from errors on training rows, which are too small."""
    panel = autoregression(2400)
    model = short["cross"][0]
    start, end = panel["time"].values[230], panel["time"].values[330]
    options = {"start": str(start), "end": str(end), "levels": [0.5, 0.9]}
    for way in ("adaptive", "rolling"):
        scores = stgate.evaluate(stgate.backtest(model, panel, calibration=way, **options))
        assert float(scores["coverage_50"]) == pytest.approx(0.5, abs=0.05)
        assert float(scores["coverage_90"]) == pytest.approx(0.9, abs=0.04)


def test_errors_of_other_nodes_or_leads_are_left_alone(refitted):
    predictor, panel, _ = refitted
    history = History.of(panel, predictor.fitted_spec, None)
    other = copy.copy(predictor)
    past = predictor.past_errors
    other.past_errors = PastErrors(past.scores[..., :2, :], past.since[..., :2], past.last)
    assert known_errors(other, history, np.arange(250, 260), 1, 20) is None
    other.past_errors = PastErrors(past.scores, past.since, past.last + 1800.0)  # between two steps
    assert known_errors(other, history, np.arange(250, 260), 1, 20) is None


def test_a_checkpoint_keeps_the_latest_errors_only(monkeypatch):
    monkeypatch.setattr(past_errors, "LARGEST", 50)
    scores = torch.arange(40.0).view(10, 2, 2, 1)
    origins = torch.stack([torch.zeros(10, dtype=torch.int64), torch.arange(10) + 3], 1)
    held = PastErrors.of(scores.repeat(1, 1, 2, 1), torch.zeros(10, 4), origins, torch.arange(20.0))
    assert held.scores.shape == (6, 1, 2, 4, 1) and held.last == 12.0
    assert float(held.scores[-1, 0, -1, -1, 0]) == 39.0
    monkeypatch.setattr(past_errors, "LARGEST", 3)
    assert PastErrors.of(scores, torch.zeros(10, 2), origins, torch.arange(20.0)) is None


def test_errors_of_several_members_stay_apart():
    scores = torch.arange(12.0).view(6, 1, 2, 1)
    origins = torch.tensor([[1, 5], [0, 5], [0, 6], [1, 6], [0, 8], [1, 8]])
    held = PastErrors.of(scores, torch.zeros(6, 2), origins, torch.arange(20.0))
    assert held.scores[:, :, 0, 0, 0].tolist()[0] == [2.0, 0.0]
    assert torch.isnan(held.scores[2]).all() and held.scores[3, 1, 0, 1, 0] == 11.0


def test_a_network_is_refitted_for_the_chosen_number_of_epochs():
    panel = autoregression(300)
    model = stgate.GatedRNN(hidden=4)
    outcome = fit_forecaster(model, data_of(panel), calibration="refit", epochs=3, seed=1)
    assert 1 <= outcome.length.done <= outcome.length.planned == 3
    again = stgate.GatedRNN(hidden=4)
    fit_forecaster(again, data_of(panel), calibration="refit", epochs=3, seed=1)
    assert model.predictor.fingerprint() == again.predictor.fingerprint()
    assert model.predictor.n_observations == 8 * data_of(panel).parts.test[0]


def test_a_written_checkpoint_forecasts_the_same(tmp_path):
    panel = autoregression(300)
    model = stgate.Ridge()
    fit_forecaster(model, data_of(panel), calibration="cross", out=tmp_path / "m.ckpt")
    xr.testing.assert_identical(
        stgate.forecast(model, panel).drop_attrs(), stgate.forecast(tmp_path / "m.ckpt", panel).drop_attrs()
    )


def test_wrong_requests_are_refused():
    panel = autoregression(200)
    with pytest.raises(stgate.RequestError, match="did you mean refit"):
        fit_forecaster(stgate.Ridge(), data_of(panel), calibration="refti")
    with pytest.raises(stgate.RequestError, match="no calibration part; take cross"):
        fit_forecaster(stgate.Ridge(), data_of(panel, split=(0.8, 0, 0, 0.2)), calibration="refit")
    assert fit_forecaster(stgate.Ridge(), data_of(panel, split=(0.8, 0, 0, 0.2)), calibration="cross").covered


def test_a_fitted_forecaster_is_not_fitted_again(short):
    with pytest.raises(stgate.RequestError, match="fitted already"):
        fit_forecaster(short["split"][0], data_of(autoregression(300)))


def test_the_recorder_hands_every_forecast_on():
    data = data_of(autoregression(200))
    model = stgate.Persistence()
    length = train(model, data, seed=0)
    assert length == Length(1, 1)
    recorder = Recorder(HeldOut(data, (model.predictor,), (data.parts.test,)))
    count = sum(len(since) for _, _, since in recorder)
    assert count == data.parts.test[1] - data.parts.test[0] - 1
    assert recorder.errors().scores.shape == (count, 1, 2, 8, 1)


@pytest.mark.parametrize("score", ["scaled", "distribution"])
def test_intervals_of_a_last_fit_are_as_wide_as_those_that_were_calibrated(score, monkeypatch):
    monkeypatch.setattr(Predictor, "conformity_score", score)
    data = data_of(autoregression(300))
    model = stgate.Ridge()
    fit_forecaster(model, data, calibration="refit")
    first, sure = model.predictor, copy.deepcopy(model.predictor)
    sure.built.spread[1] /= 4  # a fit that is sure of itself at the second lead
    rows = (data.parts.validation[0], data.parts.calibration[1])
    keep_widths(sure, HeldOut(data, (first,), (rows,)))
    ratio = sure.calibration.quantiles / first.calibration.quantiles
    torch.testing.assert_close(ratio[..., 0, 0], torch.ones_like(ratio[..., 0, 0]))
    torch.testing.assert_close(ratio[..., 1, 0], torch.full_like(ratio[..., 1, 0], 4.0))
    errors = sure.past_errors.scores / first.past_errors.scores
    assert errors[:, 0, 1, :, 0].nanmedian().item() == pytest.approx(4, rel=1e-5)


@pytest.mark.parametrize("how", ["refit", "cross"])
def test_later_fits_take_the_transforms_of_the_first(how, monkeypatch):
    """Errors are calibrated in transformed units: more rows must not choose other ones."""
    chosen = iter([(stgate.distributions.Power(0.5),)])

    def choose(predictor, data):
        return next(chosen), "transforms: the first ones"

    monkeypatch.setattr("stgate.models.training.adoption.automatic_transforms", choose)
    panel = autoregression(400)
    panel["y"] = panel["y"] ** 2
    model = stgate.Ridge()
    fit_forecaster(model, data_of(panel), calibration=how)
    assert [one.config() for one in model.predictor.transforms] == [stgate.distributions.Power(0.5).config()]
    given = stgate.Ridge(transforms=[stgate.distributions.Power(0.25)])
    fit_forecaster(given, data_of(panel), calibration=how)
    assert [one.config() for one in given.predictor.transforms] == [stgate.distributions.Power(0.25).config()]
