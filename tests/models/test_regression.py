"""Ridge regression: least squares by hand, penalties that suit the data, honest standard deviations."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import HORIZON, fitted, make_data, make_panel
from hypothesis import given
from hypothesis import strategies as st

import stgate
from stgate.errors import FitWarning
from stgate.models import Ridge
from stgate.models.closed_form.normal_equations import FOLDS, MOST, PENALTIES, Sums, affordable_rows, together
from stgate.models.closed_form.regression import ROWS, training_batches
from stgate.nn import linear
from stgate.nn.linear import LinearTable

OPTIONS = {"future_covariates": ["u"], "static_covariates": ["lat"]}


def every_case(model, data):
    """Features (case, feature) and standardised targets (case, lead, target) of all training windows, in float64."""
    linear = model.predictor.part(LinearTable).linear
    parts = [
        (linear.features(inputs).flatten(0, 1), target.transpose(1, 2).flatten(0, 1))
        for inputs, target, _ in training_batches(model.predictor, data, None)
    ]
    return tuple(torch.cat(part).double().numpy() for part in zip(*parts, strict=True))


def panel_of(values, step="D") -> xr.Dataset:
    time = pd.date_range("2020-01-01", periods=len(values), freq=step)
    nodes = [f"n{i}" for i in range(values.shape[1])]
    return xr.Dataset({"y": (("time", "node"), values.astype("float32"))}, {"time": time, "node": nodes})


def test_each_lead_is_solved_on_its_observed_rows():
    data = make_data(make_panel(steps=200, missing=0.2), **OPTIONS)
    model = fitted(Ridge(penalty=0.1), data)
    x, y = every_case(model, data)
    for lead in range(HORIZON):
        seen = ~np.isnan(y[:, lead, 0])
        assert 0.5 < seen.mean() < 1
        rows, truth = x[seen], y[seen, lead, 0]
        weight = np.linalg.solve(rows.T @ rows / len(rows) + 0.1 * np.eye(x.shape[1]), rows.T @ truth / len(rows))
        np.testing.assert_allclose(model.predictor.built.linear.weight[:, lead, 0], weight, atol=1e-5)


def test_penalties_are_those_of_the_smallest_error_on_blocks_left_out():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 6)), rng.standard_normal((300, 1))
    y += 0.5 * x[:, :1]
    y[rng.random(300) < 0.2] = np.nan
    sums, fold = Sums.empty(6, 1), np.arange(300) * FOLDS // 300
    for number in range(FOLDS):
        sums.add(number, *(torch.from_numpy(a[fold == number]) for a in (x, y)))
    seen = ~np.isnan(y[:, 0])
    by_hand = []
    for penalty in PENALTIES:
        total = 0.0
        for number in range(FOLDS):
            rest, held = (x[seen & where] for where in (fold != number, fold == number))
            known, truth = (y[seen & where, 0] for where in (fold != number, fold == number))
            weight = np.linalg.solve(rest.T @ rest / len(rest) + penalty * np.eye(6), rest.T @ known / len(rest))
            total += ((truth - held @ weight) ** 2).sum()
        by_hand.append(total / seen.sum())
    np.testing.assert_allclose(sums.errors(0), by_hand, rtol=1e-9)
    assert sums.choose(1).item() == pytest.approx(PENALTIES[int(np.argmin(by_hand))])


@given(st.integers(1, 12))
def test_penalties_between_the_chosen_leads_lie_between(leads):
    sums = Sums.empty(2, leads)
    sums.count += 1
    assert torch.isfinite(sums.choose(leads)).all() and len(sums.choose(leads)) == leads


def test_noise_takes_a_large_penalty_and_a_clear_signal_a_small_one():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((400, 3))
    steps = np.arange(400)[:, None]
    signal = np.sin(0.5 * steps + [0, 1, 2]) + np.cos(1.1 * steps + [2, 0, 1])
    sizes = [float(every(values).abs().sum()) for values in (noise, signal)]
    assert 5 * sizes[0] < sizes[1]


def every(values):
    return fitted(Ridge(), make_data(panel_of(values, "h"), targets="y")).predictor.built.linear.weight


def test_a_node_that_follows_another_is_forecast_from_it():
    rng = np.random.default_rng(2)
    leader = rng.standard_normal(600)
    follower = np.roll(leader, 1) + 0.1 * rng.standard_normal(600)
    alone = rng.standard_normal(600)
    model = fitted(Ridge(), make_data(panel_of(np.stack([leader, follower, alone], 1)), targets="y"))
    across = model.predictor.built.linear.across[:, 0, :, 0]  # (source, node)
    assert across[0, 1] > 0.5
    across[0, 1] = 0
    assert across.abs().max() < 0.2


def test_standard_deviations_follow_a_covariate_and_the_node():
    rng = np.random.default_rng(3)
    calm = rng.choice([-1.0, 1.0], (900, 4))
    values = rng.standard_normal((900, 4)) * np.exp(0.6 * calm) * [1, 1, 1, 3]
    panel = panel_of(values).assign(v=(("time", "node"), calm.astype("float32")))
    data = make_data(panel, targets="y", future_covariates=["v"])
    model = fitted(Ridge(), data)
    batch = next(iter(data.part_dataloader("test")))
    made = model(batch)
    at = batch["future"][..., 0]  # (batch, lead, node)
    stddev = made.stddev[..., 0]
    ratio = stddev[at > 0].log().mean() - stddev[at < 0].log().mean()
    assert 0.6 < float(ratio) < 1.4  # 1.2, drawn towards zero: small errors say little of their spread
    nodes = stddev.log().mean((0, 1))
    assert float((nodes[3] - nodes[:3].mean()).exp()) == pytest.approx(3, rel=0.2)
    score = ((batch["target"][..., 0] - made.mean[..., 0]) / stddev).square().mean()
    assert float(score) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("windows", [1, 3, 10, 100])
def test_windows_of_all_batches_are_left_out_where_fewer_are_enough(windows):
    data = make_data(make_panel(steps=400), targets="y")
    model, nodes = fitted(Ridge(), data), len(data.spec.nodes)
    every = [len(fold) for _, _, fold in training_batches(model.predictor, data, None)]
    some = [len(fold) for _, _, fold in training_batches(model.predictor, data, windows * nodes)]
    assert len(every) > 3 and len(some) >= min(windows, len(every)) / 2
    assert windows / 2 <= sum(some) <= windows


def test_pieces_of_a_batch_give_the_same_fit(monkeypatch):
    data = make_data(make_panel(steps=300, missing=0.2), **OPTIONS)
    whole = fitted(Ridge(), data).predictor.built
    monkeypatch.setattr("stgate.models.closed_form.regression.PIECE", 3 * len(whole.linear.weight) * 5)
    pieces = fitted(Ridge(), data).predictor.built
    for one, other in zip(whole.buffers(), pieces.buffers(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_leads_that_share_rows_are_solved_on_those_at_which_all_are_observed(monkeypatch):
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((400, 4)), rng.standard_normal((400, 3, 2))
    y += (x @ rng.standard_normal((4, 6))).reshape(400, 3, 2)
    y[rng.random(y.shape) < 0.3] = np.nan
    monkeypatch.setattr("stgate.models.closed_form.normal_equations.MOST", FOLDS * 16 * 2 * 2)  # two groups a target
    sums, fold = Sums.empty(4, 3, 2), np.arange(400) * FOLDS // 400
    for number in range(FOLDS):
        sums.add(number, *(torch.from_numpy(a[fold == number]).flatten(1) for a in (x, y)))
    found = sums.solve(torch.full((6,), 0.1, dtype=torch.float64)).view(4, 3, 2)
    for leads, target in ((slice(0, 2), 0), (slice(0, 2), 1), (slice(2, 3), 0), (slice(2, 3), 1)):
        seen = ~np.isnan(y[:, leads, target]).any(1)
        rows, truth = x[seen], y[seen, leads, target]
        weight = np.linalg.solve(rows.T @ rows / len(rows) + 0.1 * np.eye(4), rows.T @ truth / len(rows))
        np.testing.assert_allclose(found[:, leads, target], weight, rtol=1e-9)
    assert len(sums.missing) == 4


@pytest.mark.parametrize("missing", [0.0, 0.6])
def test_a_fit_says_so_where_shared_rows_leave_out_most_targets(monkeypatch, missing):
    monkeypatch.setattr("stgate.models.closed_form.normal_equations.MOST", 1)
    data = make_data(make_panel(steps=200, missing=missing), targets="y")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fitted(Ridge(), data)
    lines = [str(one.message) for one in told if one.category is FitWarning]
    assert len(lines) == (missing > 0) and all("of the observed targets" in line for line in lines)


def test_a_fit_of_many_features_and_leads_takes_bounded_memory_and_time():
    size, leads, targets = 750, 24, 6  # a day of six pollutants, hourly
    shared = together(size, leads, targets)
    groups = -(-leads // shared) * targets
    assert shared > 1 and FOLDS * groups * size**2 <= MOST
    assert affordable_rows(size, leads, targets) > 100 * size
    assert affordable_rows(100_000, leads, targets) > 100_000
    assert together(130, 12, 1) == 1 and affordable_rows(130, 12, 1) > ROWS


def test_many_nodes_read_patterns_in_space(tmp_path, monkeypatch):
    """Two patterns turn into each other: from a node's own values their phase is known badly, from all nodes well."""
    rng = np.random.default_rng(0)
    turn, state, rows = 0.99 * np.array([[0.8, -0.6], [0.6, 0.8]]), np.zeros(2), []
    for _ in range(600):
        state = turn @ state + 0.3 * rng.standard_normal(2)
        rows.append(state)
    loadings = rng.standard_normal((2, 40))
    values = np.array(rows) @ loadings + rng.standard_normal((600, 40))
    values[rng.random(values.shape) < 0.1] = np.nan
    time = pd.date_range("2020-01-01", periods=600, freq="D")
    panel = xr.Dataset({"y": (("time", "node"), values, {"units": "1"})}, {"time": time, "node": np.arange(40)})
    errors = {}
    for name, largest in (("patterns", 30_000_000), ("none", 0)):
        monkeypatch.setattr(linear, "WIDEST", 20)
        monkeypatch.setattr(linear, "LARGEST", largest)
        data = make_data(panel, window=2, horizon=2, calendar=())
        model = fitted(Ridge(transforms=None), data)
        forecast = model.predictor.built.linear
        assert forecast.across.shape[0] == forecast.patterns.shape[1] == (30 if largest else 0)
        errors[name] = float(
            stgate.evaluate(stgate.backtest(model, panel, start="2021-04-01", levels=[0.5]))["mae"].mean()
        )
        model.save(tmp_path / "m.ckpt")
        again, first = (stgate.forecast(one, panel, levels=[0.5]) for one in (tmp_path / "m.ckpt", model))
        assert again.drop_attrs().equals(first.drop_attrs())
    assert errors["patterns"] < 0.8 * errors["none"]
