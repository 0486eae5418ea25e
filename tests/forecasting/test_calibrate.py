"""Calibrate: what is stored, what it covers, and what is refused."""

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import HORIZON, WINDOW, make_model, make_panel, same, trainer

import stgate
from stgate.data.window_data import WindowData
from stgate.distributions import Normal
from stgate.errors import CalibrationWarning, RequestError
from stgate.models import GatedRNN, Persistence


@pytest.fixture(scope="module")
def calibrated():
    panel = make_panel(steps=400)
    model, data = make_model(panel)
    coverage = stgate.calibrate(model, data, levels=[0.9, 0.5, 0.8])
    return model, data, panel, coverage


def test_calibration_takes_every_origin_whatever_the_stride_of_evaluation():
    every, sparse = (WindowData(make_panel(), targets="y", window=6, horizon=3, eval_every=k) for k in (1, 24))
    first, second = (sum(len(b["origin"]) for b in d.part_dataloader("calibration")) for d in (every, sparse))
    assert first == second > 24
    assert sum(len(b["origin"]) for b in sparse.val_dataloader()) < len(every._windows("validation")) / 10


def test_intervals_cover_the_calibration_part_at_least_nominally_and_hardly_more(calibrated):
    _, _, _, coverage = calibrated
    assert list(coverage) == [0.5, 0.8, 0.9]
    for level, share in coverage.items():  # each group rounds up by one case; small ones take those of others
        assert level - 0.03 < share < level + 0.03


@pytest.mark.parametrize("scores", ["scaled", "residual", "quantile", "distribution"])
@pytest.mark.parametrize("by", [(), ("missing",), ("node",), ("missing", "node")])
def test_every_score_and_grouping_covers_what_it_was_fitted_on(scores, by):
    panel = make_panel(steps=600, missing=0.3)
    model, data = make_model(panel, model=GatedRNN(linear=False, transforms=None, likelihood=Normal()))
    coverage = stgate.calibrate(model, data, levels=[0.5, 0.9], by=by, conformity_score=scores, edges=(1,), minimum=20)
    for level, share in coverage.items():
        # Each group rounds up by one case; bounds moved past the median stop there, and then cover more.
        assert level <= share + 1e-3 and (scores == "quantile" or share <= level + 0.04)
    start, stop = (str(panel["time"].values[r]) for r in (data.parts.calibration[0], data.parts.calibration[1] - 1))
    hindcast = stgate.backtest(model, panel, start=start, end=stop, levels=[0.5, 0.9])
    found = stgate.evaluate(hindcast, by="observed")
    for level in (0.5, 0.9):
        overall = float(stgate.evaluate(hindcast)[f"coverage_{100 * level:g}"])
        assert overall == pytest.approx(coverage[level], abs=0.02)  # windows at the part's edges are only counted here
        if by:
            held = scores == "quantile" or np.abs(found[f"coverage_{100 * level:g}"] - level).max() < 0.06
            assert "missing" not in by or held
    assert ("per node" in hindcast.attrs["calibration"]) == ("node" in by)


def test_nodes_of_unequal_noise_have_intervals_of_their_own():
    panel = make_panel(steps=900, missing=0.0)
    panel["y"][:, 2] += np.random.default_rng(0).normal(0, 20, 900)
    model, data = make_model(panel)
    for by, worst in (((), 0.09), (("node",), 0.07)):
        stgate.calibrate(model, data, levels=[0.9], by=by, conformity_score="residual")
        hindcast = stgate.backtest(model, panel, start=str(panel["time"].values[data.parts.test[0]]), levels=[0.9])
        off = np.abs(stgate.evaluate(hindcast, by="node")["coverage_90"] - 0.9)
        assert (float(off.max()) < worst) == bool(by)


def test_clusters_of_nodes_by_a_coordinate_have_intervals_of_their_own():
    panel = make_panel(steps=900, missing=0.0).assign_coords(kind=("node", ["street", "park", "street"]))
    panel["y"][:, 1] += np.random.default_rng(0).normal(0, 20, 900)
    model, data = make_model(panel)
    coverage = stgate.calibrate(model, data, levels=[0.9], by=["missing", "kind"], conformity_score="residual")
    factors = model.calibration.quantiles[0, :, 0]  # (node, lead, target)
    assert (factors[0] == factors[2]).all() and (factors[1] > 2 * factors[0]).all()
    assert coverage[0.9] == pytest.approx(0.9, abs=0.01)
    assert "per missingness group, per kind" in model.calibration.method
    assert np.isfinite(stgate.forecast(model, panel, levels=[0.9])["y"]).all()
    again = stgate.recalibrate(model, panel, levels=[0.9], by=["kind"])
    assert again.keys() == {0.9}
    with pytest.raises(RequestError, match="'node' and 'kind'"):
        stgate.calibrate(model, data, by=["node", "kind"])
    with pytest.raises(RequestError, match="did you mean kind"):
        stgate.calibrate(model, data, by=["kinds"])


def test_groups_with_too_few_observed_values_are_reported():
    model, data = make_model(make_panel(steps=300, missing=0.1))
    stgate.calibrate(model, data, levels=[0.5, 0.9])
    report = model.calibration.report
    small = "nodes observed 17 to 32 steps before: too few observed values from level 0.5 on"
    assert any(line.startswith(small) for line in report)
    assert not any(line.startswith("nodes observed at the origin") for line in report)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"by": ["missng"]}, "did you mean missing"), ({"conformity_score": "scalled"}, "did you mean scaled")],
)
def test_an_unknown_group_or_score_is_refused(options, message):
    model, data = make_model(make_panel(steps=160))
    with pytest.raises(RequestError, match=message):
        stgate.calibrate(model, data, **options)


def shifting(steps=1400, at=900):
    """A panel whose noise grows threefold at a time."""
    panel = make_panel(steps=steps, missing=0.1)
    noise = np.random.default_rng(1).standard_normal((steps - at, 3)) * 6
    panel["y"][at:] += noise
    return panel


def test_rolling_and_adaptive_intervals_come_back_after_a_shift_and_stored_ones_do_not():
    panel = shifting()
    model, data = make_model(panel, split=("2020-01-20", "2020-01-25", "2020-02-05"))  # the shift is on 7 February
    stgate.calibrate(model, data, levels=[0.9])
    late = {}
    for mode in ("stored", "rolling", "adaptive"):
        hindcast = stgate.backtest(
            model, panel, start="2020-02-16", levels=[0.9], calibration=mode, calibration_window=150
        )
        late[mode] = float(stgate.evaluate(hindcast)["coverage_90"])
        assert hindcast.attrs["calibration"].startswith("split" if mode == "stored" else mode)
        assert not np.isinf(hindcast["y"]).any()
    assert late["stored"] < 0.8
    assert abs(late["rolling"] - 0.9) < 0.03 and abs(late["adaptive"] - 0.9) < 0.03


@pytest.mark.filterwarnings("ignore:.*far beyond:stgate.errors.ForecastWarning")
@pytest.mark.parametrize("mode", ["rolling", "adaptive"])
@pytest.mark.parametrize("every", [1, 3])
def test_no_interval_online_intervals_depends_on_what_came_later(mode, every):
    panel = make_panel(steps=260)
    model, _ = make_model(panel)
    altered = panel.copy(deep=True)
    altered["y"][200:] *= 50
    options = {"every": every, "start": "2020-01-06", "calibration": mode, "calibration_window": 60, "levels": [0.9]}
    one, other = (stgate.backtest(model, p, **options) for p in (panel, altered))
    before = one["init_time"] < panel["time"][200]
    xr.testing.assert_equal(one["y"].sel(init_time=before), other["y"].sel(init_time=before))
    assert int(before.sum()) > 20 and not one["y"].equals(other["y"])


def test_members_and_several_targets_are_calibrated_online_intervals_each_for_itself():
    one = make_panel(steps=200)
    both = xr.concat([one, make_panel(steps=200, seed=9)], "member")
    model, _ = make_model(both, targets=["y", "u"])
    hindcast = stgate.backtest(model, both, calibration="rolling", calibration_window=50, levels=[0.5], every=2)
    stgate.check_forecast(hindcast)
    assert hindcast["u"].dims == ("member", "init_time", "lead_time", "node", "quantile")
    plain = stgate.backtest(model, both, levels=[0.5], every=2)
    for name in ("y_mean", "u_mean", "y_truth"):
        xr.testing.assert_equal(hindcast[name], plain[name])
    np.testing.assert_allclose(hindcast["y"].sel(quantile=0.5), plain["y"].sel(quantile=0.5), rtol=1e-6)


def test_a_span_of_any_panel_recalibrates_as_the_data_module_does():
    panel = make_panel(steps=400)
    model, data = make_model(panel)
    first = stgate.calibrate(model, data, levels=[0.5, 0.9])
    stored = model.calibration
    start, stop = data.parts.calibration
    second = stgate.recalibrate(
        model, panel, start=str(panel["time"].values[start]), end=str(panel["time"].values[stop - 1]), levels=[0.5, 0.9]
    )
    assert first == second
    torch.testing.assert_close(model.calibration.quantiles, stored.quantiles)
    assert (model.calibration.start, model.calibration.end) == (stored.start, stored.end)
    with pytest.raises(RequestError, match="shorter than the 3 steps of a forecast"):
        stgate.recalibrate(model, panel, start="2020-01-10", end="2020-01-10T01")


def test_what_training_has_seen_is_left_out_unless_asked_for_and_then_warned_of():
    panel = make_panel(steps=400)
    model, data = make_model(panel)
    trainer().fit(model, data)
    times = panel["time"].values
    assert model.predictor.seen == str(times[data.parts.validation[1] - 1])
    stgate.recalibrate(model, panel, levels=[0.5])
    assert model.calibration.start == str(times[data.parts.calibration[0]])
    hindcast = stgate.backtest(model, panel, start=str(times[300]), levels=[0.5])
    assert hindcast.attrs["trained_until"] == model.predictor.seen
    with pytest.warns(CalibrationWarning, match="training has used data until"):
        stgate.recalibrate(model, panel, start="2020-01-03", levels=[0.5])
    later = panel.assign_coords(time=panel["time"] + np.timedelta64(400, "h"))
    stgate.recalibrate(model, later, levels=[0.5])  # all of it is new
    assert model.calibration.start == str(later["time"].values[6])


def test_a_backtest_warms_up_on_what_training_has_not_seen(monkeypatch):
    from stgate.forecasting import _forecast

    panel, taken = make_panel(steps=400), []
    model, _ = make_model(panel)
    usual = _forecast.online_intervals
    monkeypatch.setattr(_forecast, "online_intervals", lambda m, p, kept, *a, **o: (
        taken.append(sum(len(x["origin"]) for x in p) - kept), usual(m, p, kept, *a, **o))[1])  # fmt: skip
    for seen, expected in ((350, 10), (275, 22), (100, 40)):  # a window at least, four at most
        model.predictor.seen = str(panel["time"].values[seen])
        stgate.backtest(
            model, panel, start=str(panel["time"].values[300]), calibration="rolling", calibration_window=10
        )
        assert abs(taken[-1] - expected) <= 3, (seen, taken)


def test_quantile_scores_of_a_level_do_not_depend_on_the_levels_beside_it():
    """Offsets may well fall with the level: it is intervals that are nested, not offsets."""
    model, data = make_model(make_panel(steps=900))
    many = stgate.calibrate(model, data, levels=[0.1, 0.5, 0.9], conformity_score="quantile", by=())
    table = model.calibration.quantiles
    one = stgate.calibrate(model, data, levels=[0.5], conformity_score="quantile", by="missing", edges=())
    torch.testing.assert_close(model.calibration.quantiles[:, :, 0], table[:, :, 1])
    assert one[0.5] == pytest.approx(many[0.5], abs=0.05)


def test_levels_that_have_too_few_cases_are_reported():
    panel = make_panel(steps=400)
    model, _ = make_model(panel)
    stgate.recalibrate(model, panel, start="2020-01-16", end="2020-01-16T08")
    assert any(line.startswith("levels ") and "left out" in line for line in model.calibration.report)


def test_an_unknown_calibration_of_a_backtest_is_refused():
    panel = make_panel()
    model, _ = make_model(panel)
    with pytest.raises(RequestError, match="did you mean rolling"):
        stgate.backtest(model, panel, calibration="roling")
    with pytest.raises(RequestError, match="calibration_window 1"):
        stgate.backtest(model, panel, calibration="rolling", calibration_window=1)


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
    with pytest.raises(RequestError, match=r"level 0\.999: needs 999 observed values"):
        stgate.calibrate(model, data, levels=[0.5, 0.999])
    assert model.calibration is None
    held = list(stgate.calibrate(model, data))
    assert 0.9 in held and 0.99 not in held
    assert bool(torch.isfinite(model.calibration.quantiles).all())


def test_data_that_the_model_was_not_fitted_on_do_not_calibrate_it():
    model, _ = make_model(make_panel(steps=160))
    with pytest.raises(RequestError, match="not the data that the forecaster was fitted on"):
        stgate.calibrate(model, WindowData(make_panel(steps=160), targets="y", window=WINDOW + 1, horizon=HORIZON))


def test_forecasts_that_are_missing_drop_out_of_the_calibration():
    panel = make_panel(steps=300, missing=0.4)
    model, data = make_model(panel, model=Persistence())
    coverage = stgate.calibrate(model, data, levels=[0.5, 0.9])
    assert 0.5 <= coverage[0.5] < 0.6
    assert 0.9 <= coverage[0.9] < 0.95
