"""Transforms of targets in forecasters: outputs in the targets' own units, exact reductions, checkpoints, refusals."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import batch_of, built, fitted, make_data, make_panel, one_line

import stgate
from stgate.distributions import Anomaly, Difference, Log, LogNormal, NegativeBinomial, Power, Quantiles, Rate
from stgate.errors import PanelError, RequestError
from stgate.inference import Ensemble
from stgate.models import GatedRNN, GatedTransformer, GradientBoosting, Ridge, STHSepNet
from stgate.models.training.transform_choice import choose_transforms, name_of
from stgate.nn import RollOut

KINDS = {
    "rnn": lambda **o: GatedRNN(hidden=8, **o),
    "rollout": lambda **o: GatedRNN(hidden=8, rollout=RollOut(unroll=2), **o),
    "samples": lambda **o: GatedRNN(hidden=8, rollout=RollOut(unroll=2, samples=2), **o),
    "ensemble": lambda **o: GatedRNN(hidden=8, cell="rhn", inference=Ensemble(members=2), **o),
    "transformer": lambda **o: GatedTransformer(hidden=8, **o),
    "sepnet": lambda **o: STHSepNet(hidden=8, width=8, heads=2, neighbours=2, **o),
    "quantiles": lambda **o: GatedRNN(hidden=8, likelihood=Quantiles([0.5, 0.9]), **o),
    "ridge": lambda **o: Ridge(**o),
}


def positive(**options):
    """A panel whose target is far above zero, with populations that all are one."""
    panel = make_panel(steps=260, **options)
    panel["y"] = np.exp(panel["y"] / 8).assign_attrs(units="ug/m3")
    return panel.assign_coords(population=("node", np.ones(panel.sizes["node"])))


@pytest.mark.parametrize("kind", KINDS)
def test_a_transform_that_changes_nothing_changes_no_bit(kind):
    panel = positive()
    plain, rated = (fitted(KINDS[kind](transforms=t), make_data(panel)) for t in (None, [Rate()]))
    one, other = (stgate.forecast(m, panel, levels=[0.5, 0.8]) for m in (plain, rated))
    for name in ("y", "y_mean"):
        np.testing.assert_array_equal(one[name].values, other[name].values)


@pytest.mark.parametrize("kind", KINDS)
def test_forecasts_are_in_the_targets_units_and_come_back_from_the_checkpoint(kind, tmp_path):
    panel = positive()
    model = fitted(KINDS[kind](transforms=[Log(), Anomaly()]), make_data(panel))
    stgate.calibrate(model, make_data(panel), levels=[0.5, 0.8])
    made = stgate.forecast(model, panel, levels=[0.5, 0.8])
    assert (made["y"] > 0).all() and (made["y"].diff("quantile") >= 0).all()
    inner = made["y"].sel(quantile=[0.1, 0.9])
    assert (inner[..., 0] < made["y_mean"]).all() and (made["y_mean"] < 3 * inner[..., 1]).all()
    model.save(tmp_path / "m.ckpt")
    again = stgate.load(tmp_path / "m.ckpt")
    assert [type(t) for t in again.transforms] == [Log, Anomaly]
    assert made.drop_attrs().identical(stgate.forecast(again, panel, levels=[0.5, 0.8]).drop_attrs())
    trained = stgate.models.Forecaster.load_from_checkpoint(tmp_path / "m.ckpt")
    assert made.drop_attrs().identical(stgate.forecast(trained, panel, levels=[0.5, 0.8]).drop_attrs())


def test_a_forecast_of_rates_scales_with_the_population():
    """Nodes that differ by their size alone are forecast alike."""
    panel = positive(missing=0)
    panel["y"] = panel["y"].isel(node=0) * xr_like(panel, [1.0, 10.0, 100.0])
    panel = panel.assign_coords(population=("node", [1.0, 10.0, 100.0]))
    made = stgate.forecast(fitted(Ridge(transforms=[Rate(), Log()]), make_data(panel)), panel, levels=[0.5])
    ratio = (made["y"] / made["y"].isel(node=0)).transpose(..., "node").values
    np.testing.assert_allclose(ratio, np.broadcast_to([1.0, 10.0, 100.0], ratio.shape), rtol=2e-3)


def xr_like(panel, values):
    return panel["lat"].copy(data=values)


def test_the_loss_sees_transformed_targets_and_missing_ones_leave_gradients_finite():
    data = make_data(positive())
    model = built(GatedRNN(hidden=8, transforms=[Log(), Anomaly()]), data)
    batch = batch_of(data, "train")
    encoded = model.predictor.encode(batch)
    assert torch.equal(encoded["target"].isnan(), batch["target"].isnan()) and batch["target"].isnan().any()
    assert abs(float(encoded["target"].nanmean())) < 0.5 < float(batch["target"].nanmean())
    model.train()
    from stgate.models.training.steps import objective

    model.log = lambda *a, **k: None
    objective(model, batch).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_validation_loss_is_a_density_in_the_targets_units():
    """So that forecasters with and without transforms can be compared by it."""
    data = make_data(positive())
    model = built(GatedRNN(hidden=8, transforms=[Log()]), data)
    forecast, truth = model(batch_of(data)), batch_of(data)["target"]
    seen = ~truth.isnan()
    base = forecast.base.log_prob(truth.log().nan_to_num(0.0)) - truth.log().nan_to_num(0.0)
    torch.testing.assert_close(forecast.log_prob(truth.nan_to_num(1.0))[seen], base[seen], rtol=1e-4, atol=1e-4)


def test_intervals_of_a_logarithm_are_calibrated_on_the_logarithm():
    panel = positive(missing=0)
    data = make_data(panel)
    model = fitted(Ridge(transforms=[Log()]), data)
    stgate.calibrate(model, data, levels=[0.8])
    made = stgate.forecast(model, panel, levels=[0.8])["y"].isel(init_time=0)
    upper, middle, lower = (made.sel(quantile=q) for q in (0.9, 0.5, 0.1))
    np.testing.assert_allclose(upper / middle, middle / lower, rtol=1e-3)  # symmetric for the logarithm


@pytest.mark.parametrize("calibration", ["rolling", "adaptive"])
def test_online_intervals_are_kept_on_the_logarithm_too(calibration):
    panel = positive()
    model = fitted(Ridge(transforms=[Log()]), make_data(panel))
    made = stgate.backtest(model, panel, start="2020-01-10", levels=[0.8, 0.98], calibration=calibration)["y"]
    upper, middle, lower = (made.sel(quantile=q) for q in (0.9, 0.5, 0.1))
    np.testing.assert_allclose(upper / middle, middle / lower, rtol=1e-3)
    assert (made.fillna(1) > 0).all()


def drifting(steps=260):
    """A panel of random walks, each from a level of its own."""
    panel = make_panel(steps=steps)
    walk = np.random.default_rng(1).standard_normal(panel["y"].shape).cumsum(0)
    return panel.assign(y=panel["y"].copy(data=np.where(panel["y"].isnull(), np.nan, walk + 20).astype("float32")))


@pytest.mark.parametrize("kind", [kind for kind in (*KINDS, "boosting") if kind not in ("rollout", "samples")])
def test_forecasts_of_differences_move_with_the_level(kind, tmp_path):
    panel = drifting()
    make = KINDS.get(kind, lambda **o: GradientBoosting(trees=5, **o))
    model = fitted(make(transforms=[Difference()]), make_data(panel))
    stgate.calibrate(model, make_data(panel), levels=[0.5, 0.8])
    model.save(tmp_path / "m.ckpt")
    again = stgate.load(tmp_path / "m.ckpt")
    moved = panel.assign(y=panel["y"] + np.float32(4.0))
    for options in ({}, {"start": str(panel["time"].values[200])}):
        one, other = (stgate.forecast(again, p, levels=[0.5, 0.8], **options) for p in (panel, moved))
        for name in ("y", "y_mean"):
            np.testing.assert_allclose(other[name].values, one[name].values + 4.0, rtol=0, atol=5e-3)
        assert not one["y"].isnull().any()


@pytest.mark.parametrize("calibration", ["rolling", "adaptive"])
def test_online_intervals_of_differences_move_with_the_level(calibration):
    panel = drifting()
    moved = panel.assign(y=panel["y"] + np.float32(4.0))
    model = fitted(Ridge(transforms=[Difference()]), make_data(panel))
    made = [stgate.backtest(model, p, levels=[0.5, 0.8], calibration=calibration) for p in (panel, moved)]
    np.testing.assert_allclose(made[1]["y"].values, made[0]["y"].values + 4.0, rtol=0, atol=5e-3)
    assert made[0]["y"].notnull().mean() > 0.8  # all but those whose truth is missing


def test_a_node_that_the_window_does_not_observe_is_measured_from_its_mean():
    panel = drifting()
    data = make_data(panel)
    model = built(Ridge(transforms=[Difference()]), data)
    batch = batch_of(data)
    batch["past"][:, :, 1, 0] = torch.nan
    encoded = model.predictor.encode(batch)
    mean = float(panel["y"][: data.parts.train[1], 1].mean())
    torch.testing.assert_close(encoded["target"][:, :, 1], batch["target"][:, :, 1] - mean, equal_nan=True)
    last = batch["past"][..., 0].unbind(1)[-1]
    kept = ~last[:, 0].isnan()
    torch.testing.assert_close(
        encoded["target"][kept, :, 0, 0], batch["target"][kept, :, 0, 0] - last[kept, 0, None], equal_nan=True
    )


def test_a_difference_that_cannot_be_taken_is_refused():
    with pytest.raises(RequestError, match="transforms: Difference must be the last of them"):
        Ridge(transforms=[Difference(), Anomaly()])
    for options, other in (({"rollout": RollOut(unroll=2)}, "rollout"), ({"imputation": "climatology"}, "imputation")):
        with pytest.raises(RequestError, match=f"transforms Difference: .* {other}"):
            built(GatedRNN(hidden=8, transforms=[Difference()], **options), make_data(drifting()))


@pytest.mark.parametrize("make", [Ridge, lambda **o: GradientBoosting(trees=0, **o)], ids=["ridge", "boosting"])
def test_differences_are_scaled_by_their_own_spread_however_far_the_level_drifts(make):
    panel = drifting(steps=400)
    slope = np.arange(400, dtype="float32")[:, None]
    errors = []
    for drift in (0.0, 5.0):
        drifted = panel.assign(y=panel["y"] + drift * slope)
        model = fitted(make(transforms=[Difference()]), make_data(drifted))
        made = stgate.backtest(model, drifted, start="2020-01-14")["y"].sel(quantile=0.5).isel(lead_time=0)
        truth = drifted["y"].sel(time=made["init_time"].values + np.timedelta64(1, "h")).values
        errors.append(float(np.nanmean(np.abs(made.values - truth))))
    assert errors[1] < 1.3 * errors[0], errors


def test_support_is_checked_after_the_transforms_and_a_refused_fit_leaves_nothing():
    model = GatedRNN(hidden=8, transforms=[Power(0.5)], likelihood=NegativeBinomial())
    with pytest.raises(RequestError, match="likelihood NegativeBinomial"):
        built(model, make_data(positive()))
    assert model.spec is None
    with pytest.raises(PanelError, match=r"transform log: `y` .* is below zero"):
        panel = positive()
        panel["y"] = panel["y"] - 3
        built(GatedRNN(hidden=8, transforms=[Log()]), make_data(panel))
    with pytest.raises(RequestError, match="transforms 'Log': not a transform"):
        GatedRNN(transforms=["Log"])


def counts():
    """Hourly counts over 60 days, few at night, of nodes of different sizes."""
    rng, hours = np.random.default_rng(0), np.arange(24 * 60)
    rate = np.exp(1.5 + 1.5 * np.sin(2 * np.pi * hours / 24)[:, None] + np.array([0.0, 1.0, 2.0]))
    panel = make_panel(steps=len(hours), missing=0)
    level = np.exp(0.7 * np.convolve(rng.standard_normal(len(hours) + 23), np.ones(24) / 5, "valid"))[:, None]
    return panel.assign(y=(("time", "node"), rng.poisson(rate * level).astype("float32")))[["y"]]


def test_auto_takes_a_root_or_a_logarithm_for_counts_and_nothing_for_noise_of_constant_width():
    choice = choose_transforms(make_data(counts()))
    assert choice.transforms and type(choice.transforms[0]) in (Log, Power)
    assert choice.scores[name_of(choice.transforms)] == min(choice.scores.values())
    assert choice.report.startswith(f"transforms: {name_of(choice.transforms)} (CRPS ")
    plain = choose_transforms(make_data(make_panel(steps=900).isel(node=[0]) + 100))
    assert plain.transforms == () and plain.scores["none"] == 1.0
    below = choose_transforms(make_data(make_panel(steps=300) - 20))
    assert set(below.scores) == {"none", "[Anomaly]"}  # negative values have no roots


@pytest.mark.parametrize("part", ["validation", "calibration", "test"])
def test_auto_takes_none_that_a_last_fit_on_later_parts_would_refuse(part):
    panel = counts()
    start, stop = getattr(make_data(panel).parts, part)
    panel["y"][(start + stop) // 2, 0] = -1.0
    choice = choose_transforms(make_data(panel))
    assert (set(choice.scores) == {"none", "[Anomaly]"}) == (part != "test")


def test_auto_is_kept_as_the_option_and_the_choice_in_the_checkpoint(tmp_path):
    data = make_data(counts())
    model = fitted(Ridge(transforms="auto"), data)
    chosen = choose_transforms(data).transforms
    model.save(tmp_path / "m.ckpt")
    again = stgate.models.Forecaster.load_from_checkpoint(tmp_path / "m.ckpt")
    assert again.hparams["transforms"] == "auto" and name_of(again.predictor.transforms) == name_of(chosen)
    one, other = (stgate.forecast(m, counts()) for m in (model, tmp_path / "m.ckpt"))
    assert one.drop_attrs().identical(other.drop_attrs())
    fixed = stgate.forecast(fitted(Ridge(transforms=chosen), data), counts())
    np.testing.assert_array_equal(one["y"].values, fixed["y"].values)
    with pytest.raises(RequestError, match="transforms 'atuo': did you mean auto"):
        Ridge(transforms="atuo")


def test_auto_compares_on_a_panel_of_which_it_takes_a_part_only(monkeypatch):
    monkeypatch.setattr("stgate.models.training.transform_choice.ENOUGH", 3 * 150)
    choice = choose_transforms(make_data(counts()))
    assert all(np.isfinite(score) for score in choice.scores.values()) and choice.transforms


def test_auto_compares_some_nodes_of_a_large_panel(monkeypatch):
    panel = counts().assign_coords(population=("node", [1.0, 2.7, 7.4]))
    few = choose_transforms(make_data(panel.isel(node=[0, 1]), static_covariates=["population"]))
    monkeypatch.setattr("stgate.models.training.transform_choice.NODES", 2)
    monkeypatch.setattr("stgate.models.training.transform_choice.MOST", 1)
    some = choose_transforms(make_data(panel, static_covariates=["population"]))
    assert some.scores.keys() == few.scores.keys()
    assert list(some.scores.values()) == pytest.approx(list(few.scores.values()), rel=1e-3)


def test_auto_says_so_where_there_is_too_little_to_compare(monkeypatch):
    monkeypatch.setattr("stgate.models.training.transform_choice.RECENT", 100)
    choice = choose_transforms(make_data(make_panel(steps=120)))
    assert choice.transforms == () and "too short" in choice.report


def test_intervals_of_a_rate_of_a_positive_likelihood_stay_above_zero():
    panel = positive(missing=0)
    model = fitted(GatedRNN(hidden=8, transforms=[Rate()], likelihood=LogNormal()), make_data(panel))
    stgate.calibrate(model, make_data(panel), levels=[0.8])
    quantiles = torch.full_like(model.predictor.calibration.quantiles, 1e3)
    model.calibration = dataclasses.replace(model.calibration, quantiles=quantiles)
    assert (stgate.forecast(model, panel, levels=[0.8])["y"] >= 0).all()


def test_a_rate_is_tried_where_the_population_is_a_covariate():
    panel = counts().assign_coords(population=("node", [1.0, 2.7, 7.4]))
    tried = choose_transforms(make_data(panel, static_covariates=["population"])).scores
    assert "[Rate('population'), Log]" in tried and len(tried) == 16


def test_the_command_takes_transforms_by_name(stgate_command, tmp_path):
    stgate.write(positive(), tmp_path / "panel.nc")
    fit = ("fit", "--model", "GatedRNN", "--model.hidden", 4, "--data.panel", tmp_path / "panel.nc")
    fit += ("--data.targets", "[y]", "--data.window", 6, "--data.horizon", 3, "--trainer.max_epochs", 1)
    out = ("--out", tmp_path / "run")
    code, _, error = stgate_command(*fit, "--model.transforms", "[Log, {class_path: Anomaly}]", *out)
    assert code == 0, error
    code, _, error = stgate_command("fit", "--out", tmp_path / "run", "--resume", "--trainer.max_epochs", 2)
    assert code == 0, error
    logged = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]
    assert "val_mae" in logged and "train_loss" in logged
    assert "train_mae" not in logged  # training sees no value in the target's own units
    test = ("test", "--ckpt_path", tmp_path / "run" / "best.ckpt")
    assert stgate_command(*test)[0] == 0
    one_line(stgate_command(*test, "--model.transforms", "[Log]"), "--model.transforms", "leave --model.transforms out")
    code, _, error = stgate_command(*fit, "--model.transforms", "auto", "--out", tmp_path / "auto")
    assert code == 0 and "transforms: " in error, error
    code, _, error = stgate_command("test", "--ckpt_path", tmp_path / "auto" / "best.ckpt")
    assert code == 0, error
    one_line(stgate_command(*fit, "--model.transforms", "[Logg]"), "Logg", "did you mean Log?")
