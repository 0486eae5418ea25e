"""Bayesian neural fields: BayesNF exactly, new stations, gaps, what is seen near by and what never is."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import FIELD_NODES, built, field_data, field_panel, fitted, small_field

import stgate
from stgate.data import FieldData, WindowData
from stgate.distributions import LogNormal, Normal
from stgate.errors import ForecastError, PanelError, RequestError
from stgate.inference import Ensemble, MeanField, PointEstimate
from stgate.models import CGLUBNF, BayesNF, Forecaster, GatedRNN

LEVELS = [0.5, 0.9]


# What it learns from and what it sees


@pytest.mark.parametrize("context", [0, 4])
@pytest.mark.parametrize("likelihood", [None, Normal()], ids=["exp", "softplus"])
def test_gradients_reach_every_weight_and_missing_values_none(context, likelihood):
    data = field_data(covariates=["u"], context=context, horizon=2 if context else 1)
    inference = Ensemble(2) if context else PointEstimate()
    model = built(small_field(inference=inference, residual="highway", knots=9, likelihood=likelihood), data).train()
    batch = next(iter(data.train_dataloader()))
    model.training_step(batch, 0).backward()
    for name, weight in model.predictor.network.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().sum() > 0, name


def test_every_observed_training_entry_is_a_case_once_an_epoch():
    data = field_data(batch_size=7)
    model = built(BayesNF(width=8, inference=PointEstimate()), data)
    truth = torch.cat([model.training_target(batch).flatten() for batch in data.train_dataloader()])
    start, stop = data.parts.train
    expected = data.panel["y"].values[start:stop]
    np.testing.assert_array_equal(np.sort(truth), np.sort(expected[~np.isnan(expected)]))


@pytest.mark.parametrize("inference", [PointEstimate(), Ensemble(2, prior="normal", vectorized=False), Ensemble(2)])
def test_a_batch_in_pieces_has_the_loss_and_the_gradients_of_one_taken_whole(monkeypatch, inference):
    found = []
    for held in (2**25, 1):  # the numbers of a piece; pieces have observed entries that differ in number
        monkeypatch.setattr("stgate.inference.pieces.MOST", held)
        data = field_data()
        model = built(small_field(inference=inference), data).train()
        batch = next(iter(data.train_dataloader()))
        assert (len(model.training_pieces(batch)) == 1) == (held == 2**25)
        loss = model.training_step(batch, 0)
        loss.backward()
        found.append([loss.detach(), *(weight.grad for weight in model.parameters())])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_a_path_lets_a_new_station_know_each_step_by_itself():
    panel = field_panel(steps=200, missing=0.0)
    rng = np.random.default_rng(3)
    common, own = rng.standard_normal((200, 1)), rng.standard_normal((200, 6))
    panel = panel.assign(y=(("time", "node"), (10 + 3 * common + 0.3 * own).astype("float32")))
    data = field_data(panel.sel(node=list(FIELD_NODES[:5])), split=(0.9, 0.1, 0.0, 0.0), batch_size=200)
    errors = {}
    for knots in (0, 180):
        options = {"graph": 0, "optimizer": lambda weights: torch.optim.Adam(weights, lr=0.03)}
        made = stgate.reconstruct(fitted(small_field(**options, knots=knots), data, epochs=60), panel.sel(node=["f"]))
        gap = abs(made["y_mean"] - made["y_truth"]).isel(node=0)
        errors[knots] = float(gap[:180].mean()), float(gap[180:].mean())
    assert errors[180][0] < 0.5 * errors[0][0]  # in the training part
    assert errors[180][1] < 1.3 * errors[0][1]  # beyond it nothing is known of a step, and the field knows that


def test_a_field_is_not_calibrated_by_nodes_that_another_panel_may_lack():
    data = field_data()
    model = built(small_field(), data)
    with pytest.raises(RequestError, match="by 'node': a field takes panels with other nodes"):
        stgate.calibrate(model, data, by=["missing", "node"])


# Other places


def test_a_station_that_training_never_saw_joins_by_its_neighbours():
    panel = field_panel(steps=200)
    model = fitted(small_field(width=16), field_data(panel.isel(node=slice(0, 5))))
    both = stgate.reconstruct(model, panel)
    assert both["y"].sel(node="f").notnull().all()
    known = stgate.reconstruct(model, panel.isel(node=slice(0, 5)))
    np.testing.assert_allclose(both["y_mean"].isel(node=slice(0, 5)), known["y_mean"], rtol=1e-5, atol=1e-5)
    alone = stgate.forecast(model, panel.sel(node=["f"]), levels=LEVELS)
    assert alone.sizes["node"] == 1 and alone["y"].notnull().all()
    shuffled = stgate.reconstruct(model, panel.isel(node=[3, 5, 0]))
    np.testing.assert_allclose(shuffled["y_mean"], both["y_mean"].isel(node=[3, 5, 0]), rtol=1e-5, atol=1e-5)


def test_a_field_without_coordinates_of_places_knows_them_by_what_lies_around(tmp_path):
    """Turned around, a panel is the same to it; with them it is not."""
    panel = field_panel(missing=0.1)
    away = panel.assign_coords(lon=-panel["lon"])
    for coordinates in (None, ["time"]):
        model = fitted(small_field(coordinates=coordinates), field_data(panel, context=4))
        here, there = (stgate.reconstruct(model, p)["y_mean"].values for p in (panel, away))
        assert np.allclose(here, there, rtol=1e-3) == (coordinates is not None)
    model.save(tmp_path / "field.ckpt")
    again = stgate.reconstruct(tmp_path / "field.ckpt", panel)["y_mean"].values
    np.testing.assert_array_equal(again, here)


def test_coordinates_are_those_that_are_named():
    panel = field_panel().assign_coords(height=("node", np.arange(6.0)))
    data = field_data(panel, static_covariates=["height"], covariates=["u"])
    height = built(small_field(coordinates=["height"]), data).predictor.field
    assert height.graph.own.in_features == 1 and height.features.kinds == [1]
    seasons = {"seasons": {"day": 2}}
    time = built(small_field(**seasons, coordinates=["time", "u"]), data).predictor.field
    assert time.graph is None and time.features.kinds == [0, 2]
    yearly = built(small_field(**seasons, coordinates=["lat"]), data)
    made = stgate.reconstruct(yearly, panel)["y_mean"].transpose("time", "node").values
    np.testing.assert_allclose(made[24:], made[:-24], rtol=1e-5)
    for wrong, said in (
        ({"coordinates": ["lon"], "degree": {"lat": 2}}, "degree 'lat'"),
        ({"coordinates": ["x"]}, "'x'"),
    ):
        with pytest.raises(RequestError, match=said):
            built(small_field(**wrong), data)
    with pytest.raises(RequestError, match="coordinates and seasons: none is left"):
        built(small_field(coordinates=[], seasons={}), data)


def test_a_field_is_calibrated_forecast_and_comes_back_from_its_checkpoint(tmp_path):
    panel = field_panel(steps=200)
    data = field_data(panel, context=5, horizon=3)
    model = fitted(small_field(inference=Ensemble(2, prior="logistic")), data)
    stgate.calibrate(model, data, levels=LEVELS)
    model.save(tmp_path / "field.ckpt")
    again = Forecaster.load_from_checkpoint(tmp_path / "field.ckpt")
    assert type(again) is CGLUBNF and again.hparams == model.hparams
    for made in (stgate.backtest, stgate.reconstruct):
        one, two = (made(m, panel, levels=LEVELS).drop_attrs() for m in (model, again))
        assert one.identical(two)
    new = stgate.backtest(again, panel.sel(node=["a", "f"]), levels=LEVELS)
    assert new["y"].notnull().any() and "y_sigma" not in new.coords


def test_bayesnf_comes_back_with_its_own_options_only(tmp_path):
    model = fitted(BayesNF(width=8, seasons={"day": 2, 50.0: 1}, inference=PointEstimate()))
    model.save(tmp_path / "b.ckpt")
    again = Forecaster.load_from_checkpoint(tmp_path / "b.ckpt")
    assert type(again) is BayesNF and again.predictor.seasons == {"day": 2, "50.0": 1}
    batch = next(iter(field_data().part_dataloader("test")))
    torch.testing.assert_close(again(batch).mean, model(batch).mean)


@pytest.mark.parametrize(
    "inference", [Ensemble(2, prior="logistic"), MeanField(prior="logistic", draws=3)], ids=["map", "vi"]
)
def test_every_inference_fits_a_field(inference):
    model = fitted(small_field(inference=inference))
    made = stgate.reconstruct(model, field_panel(), levels=LEVELS)
    assert made["y"].notnull().all() and {"y_aleatoric", "y_epistemic"} <= set(made)


def test_gradients_of_members_are_clipped_each_apart_also_of_single_numbers():
    data = field_data()
    model = built(small_field(inference=Ensemble(2)), data).train()
    model.training_step(next(iter(data.train_dataloader())), 0).backward()
    model.configure_gradient_clipping(None, gradient_clip_val=1e-3)
    norms = sum(weight.grad.reshape(2, -1).square().sum(1) for weight in model.predictor.network.parameters()).sqrt()
    torch.testing.assert_close(norms, torch.full((2,), 1e-3), rtol=0.01, atol=0)


def test_times_may_be_uneven_where_the_field_sees_coordinates_only():
    even = field_panel(steps=600)
    rows = np.sort(np.random.default_rng(0).choice(600, 200, replace=False))
    uneven = even.isel(time=rows)
    model = built(small_field(), field_data(even))
    whole, some = (stgate.reconstruct(model, panel)["y_mean"] for panel in (even, uneven))
    np.testing.assert_allclose(some, whole.sel(time=some["time"]), rtol=1e-5)
    frame = uneven["y"].to_pandas().set_axis(list(FIELD_NODES), axis=1)
    table = stgate.to_panel(frame, name="y", regular=False)
    data = field_data(table.assign_coords(lat=even["lat"], lon=even["lon"]))
    model = fitted(small_field(seasons={"day": 2}), data)
    assert data.spec.step == 3600 * np.median(np.diff(rows))
    made = stgate.reconstruct(model, even)  # as fine as one likes
    assert bool(made["y_mean"].notnull().all())
    stgate.calibrate_reconstruction(model, uneven, start=uneven["time"].values[150])
    with pytest.raises(PanelError, match="time jumps"):
        stgate.forecast(model, uneven)
    with pytest.raises(PanelError, match=r"time jumps.*; or set context to 0"):
        field_data(uneven, context=3).setup("fit")


def test_a_panel_in_model_time_with_members_and_places_on_a_plane():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, 60, 4)).cumsum(1).astype("float32")
    coords = {
        "time": np.arange(60) * 0.5,
        "node": list("pqrs"),
        "x": ("node", [0.0, 1, 2, 3]),
        "y": ("node", [0.0, 1, 0, 1]),
    }
    panel = xr.Dataset({"h": (("member", "time", "node"), values)}, coords)
    data = FieldData(panel, targets="h", context=3, horizon=2)
    assert data.spec.places == ("x", "y")
    model = fitted(small_field(), data)
    made = stgate.reconstruct(model, panel)
    assert made["h"].dims == ("member", "time", "node", "quantile") and made.sizes["time"] == 58
    np.testing.assert_allclose(made["h_truth"], panel["h"][:, 2:])
    assert np.isfinite(stgate.evaluate(made)["mae"])


def test_a_reconstruction_is_scored_by_node_and_written(tmp_path):
    panel = field_panel()
    made = stgate.reconstruct(fitted(small_field()), panel, start="2020-01-02", end="2020-01-03")
    assert pd.Timestamp(made["time"].values[0]) == pd.Timestamp("2020-01-02")
    assert pd.Timestamp(made["time"].values[-1]) == pd.Timestamp("2020-01-03 23:00")
    stgate.write(made, tmp_path / "r.nc")
    again = stgate.open_forecast(tmp_path / "r.nc")
    scores = stgate.evaluate(again, by="node")
    expected = abs(made["y"].sel(quantile=0.5) - made["y_truth"]).mean("time")
    np.testing.assert_allclose(scores["mae"], expected, rtol=1e-5)


def test_a_reconstruction_is_scored_by_when_the_node_was_observed_before():
    panel = field_panel(missing=0.3)
    made = stgate.reconstruct(built(small_field(), field_data(panel, context=4, horizon=2)), panel)
    before = panel["y"].shift(time=1).sel(time=made["time"]).notnull()
    np.testing.assert_array_equal(made["steps_since_observed"] == 0, before.transpose("time", "node"))
    table = stgate.evaluate(made, by="observed")
    there = made["y_truth"].notnull()
    assert table["count"].values.tolist() == [int((there & before).sum()), int((there & ~before).sum())]
    assert "steps_since_observed" not in stgate.reconstruct(built(small_field()), panel).coords


def test_bounds_of_a_shifted_log_normal_begin_at_zero_in_reconstructions_too():
    panel = field_panel()
    panel["y"] = (panel["y"] - panel["y"].min()).astype("float32")
    model = fitted(small_field(likelihood=LogNormal(shift=50.0)), field_data(panel))
    made = stgate.reconstruct(model, panel, levels=[0.99])
    assert float(made["y"].min()) == 0


def test_rows_of_time_and_place_do_not_depend_on_what_else_is_evaluated(monkeypatch):
    panel = field_panel()
    model = fitted(small_field())
    whole = stgate.reconstruct(model, panel)
    monkeypatch.setattr("stgate.prediction.field.predictor.ROWS", 50)
    torch.testing.assert_close(
        torch.tensor(stgate.reconstruct(model, panel)["y_mean"].values), torch.tensor(whole["y_mean"].values)
    )


# Requests


@pytest.mark.parametrize(
    ("make_it", "error", "said"),
    [
        (lambda: CGLUBNF(graph=6, heads=4), RequestError, "graph 6: must be a multiple of the 4 heads"),
        (lambda: CGLUBNF(width=24), RequestError, "width 24: .* a multiple of 16"),
        (lambda: CGLUBNF(context_masking=["station"]), RequestError, "did you mean stations"),
        (lambda: CGLUBNF(context_masking=[]), RequestError, "known: late, stations, entries"),
        (lambda: CGLUBNF(width=0), RequestError, "width 0"),
        (lambda: CGLUBNF(depth="2"), RequestError, "depth '2': must be a whole number"),
        (lambda: built(CGLUBNF(residual="couple")), RequestError, "did you mean coupled"),
        (lambda: built(CGLUBNF(activation="layr")), RequestError, "did you mean layer"),
        (lambda: built(CGLUBNF(seasons={"daily": 2})), RequestError, "seasons 'daily'"),
        (lambda: built(CGLUBNF(seasons={"day": 13})), RequestError, "a period of 24 steps cannot have 13 harmonics"),
        (lambda: built(CGLUBNF(interactions=[["time", "latt"]])), RequestError, "did you mean lat"),
        (lambda: field_data(context=2, horizon=2), RequestError, "context 2"),
        (lambda: field_data(field_panel().drop_vars(["lat", "lon"])).spec, PanelError, "has no coordinates"),
        (lambda: field_data(places=["lat", "height"]).spec, PanelError, "`height`"),
        (lambda: CGLUBNF().adopt(WindowData(field_panel(), targets="y")), RequestError, "FieldData"),
        (lambda: stgate.reconstruct(GatedRNN(), field_panel()), RequestError, "cannot reconstruct"),
    ],
)
def test_wrong_requests_are_refused_by_name(make_it, error, said):
    with pytest.raises(error, match=said):
        make_it()


def test_a_span_that_ends_before_it_starts_is_refused():
    model = built(small_field())
    with pytest.raises(RequestError, match="swap them"):
        stgate.reconstruct(model, field_panel(), start="2020-01-04", end="2020-01-02")


def test_too_little_history_for_the_context_is_refused():
    model = built(small_field(), field_data(context=5, horizon=2))
    with pytest.raises(ForecastError, match="5 steps of context"):
        stgate.reconstruct(model, field_panel().isel(time=slice(0, 3)))


def test_the_command_fits_fills_and_scores_a_field(stgate_command, tmp_path):
    stgate.write(field_panel(steps=200), tmp_path / "p.nc")
    small = (
        "--model.width",
        16,
        "--model.inference",
        "PointEstimate",
        "--trainer.max_epochs",
        1,
        "--data.targets",
        "[y]",
    )
    fit = ("fit", "--model", "CGLUBNF", *small, "--data.panel", tmp_path / "p.nc")
    code, _, error = stgate_command(*fit, "--data.context", 4, "--data.horizon", 2, "--out", tmp_path / "run")
    assert code == 0, error
    best = tmp_path / "run" / "best.ckpt"
    code, _, error = stgate_command("reconstruct", tmp_path / "p.nc", "--checkpoint", best, "--out", tmp_path / "r.nc")
    assert code == 0, error
    code, out, error = stgate_command("evaluate", tmp_path / "r.nc", "--by", "node")
    assert code == 0 and "CGLUBNF" in out, error
    code, _, error = stgate_command("test", "--ckpt_path", best)
    assert code == 0, error
    code, _, error = stgate_command(*fit, "--data.window", 4, "--out", tmp_path / "other")
    assert code == 2 and "--data.window: no such option" in error and not (tmp_path / "other").exists()
