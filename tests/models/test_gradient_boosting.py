"""Gradient boosting: trees held as tensors predict what the library does, and the fit is that of an expert."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import make_data, make_panel, model_time_panel, trainer

import stgate
from stgate.__main__ import main
from stgate.errors import PanelError, RequestError
from stgate.fitting.training import train
from stgate.models import GradientBoosting, Ridge
from stgate.models.closed_form import tree_growth
from stgate.models.closed_form.boosting import mean_weights
from stgate.models.closed_form.linear_fit import LinearRows, fit_linear
from stgate.models.closed_form.tree_growth import Grower, Growth, trees_of_lightgbm, trees_of_sklearn
from stgate.nn.trees import Trees
from stgate.prediction.tabular.boosting import lead_groups

SMALL = {"trees": 8, "learning_rate": 0.3, "max_rows": 2000}


@pytest.fixture(autouse=True)
def _sklearn_alone(monkeypatch):
    """LightGBM need not be installed, and where it is the tests are of the same library."""
    monkeypatch.setattr(tree_growth, "has_lightgbm", lambda: False)


def fit(panel, targets="y", options=None, **given):
    model, data = GradientBoosting(**{**SMALL, **(options or {})}), make_data(panel, targets=targets, **given)
    trainer(3).fit(model, data)
    return model.eval(), data


def rows_with_gaps(count, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 6)).astype("float32")
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:, 4] = np.nan_to_num(x[:, 4])  # never missing in training
    x[:, 5] = np.round(np.nan_to_num(x[:, 5]))
    y = np.nansum(x[:, :3], 1) ** 2 + 2 * np.isnan(x[:, 3]) + 0.1 * rng.standard_normal(count)
    return x, y


# Trees as tensors


def test_the_tensors_predict_what_scikit_learn_does_with_missing_values():
    from sklearn.ensemble import HistGradientBoostingRegressor

    x, y = rows_with_gaps(3000)
    model = HistGradientBoostingRegressor(max_iter=60, early_stopping=False).fit(x, y)
    asked = rows_with_gaps(2000, seed=1)[0]
    asked[:50, 4] = np.nan  # missing where training never was
    held = Trees.of(trees_of_sklearn(model), 6)
    for rows in (x, asked):  # of the training rows many lie close to a threshold
        made = held.outputs(torch.from_numpy(rows)).double().sum(1).numpy()
        np.testing.assert_allclose(made, model.predict(rows), rtol=1e-5, atol=1e-5)


def test_a_float32_number_just_above_a_threshold_in_float64_goes_right():
    near = np.float32(0.1)  # above 0.1 in float64
    assert float(near) > 0.1
    own = np.arange(3)
    tree = tree_growth.Tree(
        np.zeros(3, int),
        np.array([0.1, 0, 0]),
        np.array([1, 1, 2]),
        np.array([2, 1, 2]),
        own == 0,
        np.array([0.0, 1, 2]),
    )
    rows = torch.tensor([[float(near)], [float(np.nextafter(near, np.float32(0)))], [torch.nan]])
    assert Trees.of([tree], 1)(rows).tolist() == [2, 1, 1]


def test_the_tensors_predict_what_lightgbm_does():
    """The model as LightGBM 4.7 dumps it: a split that knows missing values, and one that reads them as zero."""
    leaf = [{"leaf_value": value} for value in (1.0, 10.0, 100.0)]
    inner = {"split_feature": 1, "threshold": -0.5, "default_left": True, "missing_type": "None"}
    root = {"split_feature": 0, "threshold": 0.25, "default_left": True, "missing_type": "NaN"}
    structure = {**root, "left_child": leaf[0], "right_child": {**inner, "left_child": leaf[1], "right_child": leaf[2]}}
    dump = {"tree_info": [{"tree_structure": structure}, {"tree_structure": {"leaf_value": 0.5}}]}
    rows = torch.tensor([[0.25, 0], [0.3, -0.5], [0.3, 0.0], [torch.nan, 0], [1.0, torch.nan]])
    assert Trees.of(trees_of_lightgbm(dump), 2)(rows).tolist() == [1.5, 10.5, 100.5, 1.5, 100.5]


def test_the_number_of_trees_is_that_of_the_smallest_error_on_held_out_rows():
    x, y = rows_with_gaps(2000)
    noise = np.random.default_rng(3).standard_normal(len(y))
    options = Growth(leaves=31, smallest=5, rate=0.3, trees=200, seed=0)
    grower, held = Grower(x), np.arange(2000) >= 1000
    few = grower.grow(noise, options, fitted=~held, held=held)
    many = grower.grow(y, options, fitted=~held, held=held)
    assert len(few) < 10 < len(many) <= 200


def test_a_feature_without_values_in_the_rows_of_a_fit_changes_nothing_later_either():
    x, y = rows_with_gaps(400)
    empty, later = (np.concatenate([x, np.full((400, 1), value, x.dtype)], 1) for value in (np.nan, 7.0))
    trees = Grower(empty).grow(y, Growth(leaves=8, smallest=20, rate=0.1, trees=20, seed=0))
    made = tree_growth.predict(trees, empty)
    assert np.corrcoef(made, y)[0, 1] > 0.8
    np.testing.assert_array_equal(tree_growth.predict(trees, later), made)


def test_too_few_rows_give_their_mean():
    x, y = rows_with_gaps(30)
    trees = Grower(x).grow(y, Growth(leaves=4, smallest=20, rate=0.1, trees=50, seed=0))
    np.testing.assert_allclose(tree_growth.predict(trees, x), y.mean(), rtol=1e-6)


# The linear forecast


def test_weights_of_nodes_are_taken_where_nodes_differ_and_not_where_they_do_not():
    generator = torch.Generator().manual_seed(0)
    nodes, folds = torch.arange(4000) % 8, torch.arange(4000) // 1000
    x = torch.cat([torch.ones(4000, 1), torch.randn(4000, 3, generator=generator)], 1)
    slope = torch.linspace(-2, 2, 8)
    noise = torch.randn(4000, generator=generator)
    for truth, found in ((x[:, 1] * slope[nodes] + noise, slope - slope.mean()), (x[:, 1] + noise, 0 * slope)):
        made = fit_linear(LinearRows.of(x, truth, nodes, folds, count=(4, 8), own=4))
        total = made.own_weight[:, 1] + made.weight[1] - (slope.mean() if (found != 0).any() else 1.0)
        np.testing.assert_allclose(total, found, atol=0.15)
        assert abs((made.held_out - truth).square().mean() - 1) < 0.1


# The mean of forecasts


def test_the_mean_prefers_the_better_forecast_and_leaves_out_a_bad_one():
    generator = np.random.default_rng(0)
    truth = generator.standard_normal(5000)
    made = [truth + width * generator.standard_normal(5000) for width in (0.3, 0.6, 5.0)]
    weights = mean_weights(np.stack(made, 1), truth)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > 2 * weights[1] > 0
    assert weights[2] < 0.02
    np.testing.assert_allclose(mean_weights(np.stack([truth, truth], 1), truth), 0.5)


# The forecaster


@pytest.mark.parametrize("horizon", [1, 2, 3, 7, 24])
def test_groups_of_leads_cover_the_horizon(horizon):
    groups = lead_groups(horizon)
    assert [lead for first, last in groups for lead in range(first, last)] == list(range(horizon))
    assert len(groups) <= 6


def test_boosting_learns_what_no_line_does_and_its_intervals_cover():
    panel = make_panel(steps=900, missing=0.05)
    rng = np.random.default_rng(0)
    x = np.zeros((900, 3))
    for row in range(1, 900):  # the next value is far from linear in the last
        x[row] = np.clip(1 - 1.9 * np.abs(x[row - 1]) + 0.1 * rng.standard_normal(3), -1, 1)
    panel["y"] = (("time", "node"), x.astype("float32"))
    model, data = fit(panel, options={"transforms": None, "trees": 100}, horizon=1)
    line = Ridge(transforms=None)
    trainer(1).fit(line, data)
    errors = {}
    inside = []
    for kind in (model, line.eval()):
        found = []
        for batch in data.part_dataloader("test"):
            forecast, truth = kind(batch), batch["target"]
            found.append((forecast.icdf(torch.tensor(0.5)) - truth).abs().flatten())
            if kind is model:
                low, high = forecast.icdf(torch.tensor(0.1)), forecast.icdf(torch.tensor(0.9))
                inside.append(((truth >= low) & (truth <= high))[~torch.isnan(truth)].float())
        errors[kind] = float(torch.cat(found).nanmean())
    assert errors[model] < 0.6 * errors[line]
    assert 0.7 < float(torch.cat(inside).mean()) < 0.9


def test_it_is_calibrated_and_forecasts_and_backtests_as_any_forecaster_does(tmp_path):
    panel = make_panel(steps=260)
    model, data = fit(panel, ["y", "u"])
    coverage = stgate.calibrate(model, data, levels=[0.5, 0.8])
    forecast = stgate.forecast(model, panel, levels=[0.5, 0.8])
    hindcast = stgate.backtest(model, panel, levels=[0.8], every=10)
    for made in (forecast, hindcast):
        stgate.check_forecast(made)
        assert made.attrs["model"] == "GradientBoosting"
        assert {"y", "y_mean", "u", "u_mean"} <= set(made.data_vars)
    assert min(coverage.values()) > 0.45


def test_it_forecasts_where_a_node_was_never_observed_in_the_window():
    panel = make_panel(steps=260)
    model, _ = fit(panel)
    panel["y"][-30:, 0] = np.nan
    forecast = stgate.forecast(model, panel, start=str(panel["time"].values[-1]))
    assert np.isfinite(forecast["y_mean"].values).all()


def test_it_takes_members_and_model_time_and_future_covariates():
    panel = model_time_panel(steps=150)
    model, _ = fit(panel, "x")
    assert stgate.backtest(model, panel, every=9)["x_mean"].dims == ("member", "init_time", "lead_time", "node")
    panel = make_panel(steps=260)
    model, _ = fit(panel, past_covariates=(), future_covariates=["u"], static_covariates=["lat"])
    assert np.isfinite(stgate.backtest(model, panel, every=9)["y_mean"].values).any()


def test_a_checkpoint_holds_plain_tensors_and_forecasts_the_same_bits_without_a_library_of_trees(tmp_path):
    panel = make_panel(steps=260)
    model, _ = fit(panel)
    path, store = tmp_path / "m.ckpt", tmp_path / "panel.nc"
    model.save(path)
    panel.to_netcdf(store)
    torch.load(path, weights_only=True)
    expected = stgate.forecast(model, panel)
    loaded = stgate.load(path)
    xr_same = stgate.forecast(loaded, panel)
    np.testing.assert_array_equal(xr_same["y"].values, expected["y"].values)
    again = GradientBoosting.load_from_checkpoint(path)
    np.testing.assert_array_equal(stgate.forecast(again, panel)["y"].values, expected["y"].values)
    code = (
        "import sys, stgate; stgate.forecast(stgate.load(sys.argv[1]), stgate.open_panel(sys.argv[2]));"
        "print([m for m in ('lightning', 'lightgbm', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, path, store], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_same_seed_gives_the_same_bits():
    panel, made = make_panel(steps=260), []
    for _ in range(2):
        torch.manual_seed(5)
        model, _ = fit(panel, options={"max_rows": 200})
        made.append(model.predictor.fingerprint())
    assert made[0] == made[1]


def test_a_fit_resumes_from_its_checkpoint_with_trees_of_the_stored_size(tmp_path):
    model, data = fit(make_panel(steps=260))
    model.save(tmp_path / "m.ckpt")
    fresh = GradientBoosting(**SMALL)
    fresh.adopt(data)
    checkpoint = torch.load(tmp_path / "m.ckpt", weights_only=True)
    fresh.on_load_checkpoint(checkpoint)
    fresh.load_state_dict(checkpoint["state_dict"])
    assert fresh.predictor.fingerprint() == model.predictor.fingerprint()


def test_options_out_of_range_are_refused():
    for options in ({"trees": -1}, {"learning_rate": 0.0}, {"max_rows": 5}):
        with pytest.raises(RequestError, match=next(iter(options))):
            GradientBoosting(**options)


def test_a_shorter_horizon_in_training_is_refused():
    with pytest.raises(RequestError, match="train_horizon"):
        fit(make_panel(steps=260), train_horizon=1)


def test_without_trees_the_ridge_regression_is_left():
    model, _ = fit(make_panel(steps=260), options={"trees": 0})
    assert model.predictor.tables.trees.size[1] <= 31
    assert np.isfinite(stgate.forecast(model, make_panel(steps=260))["y_mean"].values).all()


def test_graph_means_are_refused_without_a_graph():
    panel = make_panel(steps=260).drop_vars(["lat", "lon"])
    with pytest.raises((RequestError, PanelError), match="neighbour_means"):
        fit(panel, options={"neighbour_means": "graph"})


def test_stgate_fit_moves_its_quantiles_and_prints_each_group_of_leads(tmp_path, capsys):
    make_panel(steps=260).to_netcdf(tmp_path / "panel.nc")
    given = f"fit --model GradientBoosting --model.trees 2 --data.panel {tmp_path / 'panel.nc'} --data.targets y"
    assert main([*given.split(), "--data.window", "6", "--data.horizon", "3", "--out", str(tmp_path / "run")]) == 0
    assert "leads 3 to 3: " in capsys.readouterr().err
    assert stgate.load(tmp_path / "run" / "best.ckpt").calibration.conformity_score == "quantile"


def test_a_small_part_of_many_windows_skips_whole_batches():
    """Of a long record a few rows were asked for: a batch of which no window was taken ended the fit."""
    panel = make_panel(steps=3000, nodes=("a", "b"))
    model = GradientBoosting(trees=3, max_rows=100)
    trainer().fit(model, make_data(panel, window=6, horizon=2, batch_size=8))
    assert np.isfinite(stgate.forecast(model, panel, levels=[0.5])["y"]).all()


def test_patterns_in_space_are_features_of_many_nodes(tmp_path):
    """A wave over 30 nodes, too weak in each to be seen: its strength is known from all of them together."""
    rng = np.random.default_rng(0)
    strength = np.zeros(900)
    for t in range(1, 900):
        strength[t] = 0.9 * strength[t - 1] + rng.standard_normal()
    wave = np.sin(2 * np.pi * np.arange(30) / 30)
    y = strength[:, None] * wave + 3 * rng.standard_normal((900, 30))
    time = pd.date_range("2001-01-01", periods=900, freq="D")
    panel = xr.Dataset({"y": (("time", "node"), y)}, {"time": time, "node": np.arange(30)})
    data = stgate.WindowData(panel, targets="y", window=4, horizon=1, calendar=())
    model = stgate.models.GradientBoosting(trees=20, transforms=None)
    train(model, data, seed=0)
    features = model.predictor.tables.features
    assert features.strengths == 20 and "pattern 0" in features.names
    first = features.patterns[0, :, 0].numpy()
    assert abs(first @ wave) / np.linalg.norm(wave) > 0.95
    model.save(tmp_path / "m.ckpt")
    made = stgate.backtest(tmp_path / "m.ckpt", panel, start="2003-01-01")
    error = float(((made["y_mean"] - made["y_truth"]) ** 2).mean())
    assert error < 9 + 1.5 * 0.5 * (
        1 + 0.81 * 0.9
    )  # noise, and the part of the wave that cannot be known, with some more


def test_the_pull_to_equal_weights_does_not_outweigh_small_errors():
    """Of a series that is nearly known, the worse of two forecasts gets little weight."""
    rng = np.random.default_rng(0)
    truth = 10 * rng.standard_normal(4000)
    good, bad = truth + 0.3 * rng.standard_normal(4000), truth + 1.2 * rng.standard_normal(4000)
    weights = mean_weights(np.stack([good, bad], 1), truth)
    assert weights[0] > 0.9
