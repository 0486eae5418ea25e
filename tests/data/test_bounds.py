"""Covariates far beyond the training part: bounded, and warned of."""

import warnings

import numpy as np
import pytest
import torch
from helpers import (
    SMALL_SEPNET,
    batch_of,
    built,
    field_data,
    field_panel,
    fitted,
    make_data,
    make_panel,
    same,
    says,
    small_field,
)

import stgate
from stgate.data.bounds import CovariateBounds
from stgate.data.streaming import StoredSeries
from stgate.errors import FitWarning, ForecastWarning
from stgate.models import GatedRNN, GatedTransformer, GradientBoosting, Ridge, STHSepNet
from stgate.prediction.evaluating import evaluation_mode

ROLES = ("past_covariates", "future_covariates")
CUT = 96
"""Number of training steps of 160."""


def panel_with(before=4.0, after=4.0, steps=160):
    """A panel with a covariate `w` that has a value in the training part, and another later."""
    panel = make_panel(steps=steps, missing=0)
    rows = np.where(np.arange(steps)[:, None] < CUT, before, after)
    return panel.assign(w=(("time", "node"), np.broadcast_to(rows, (steps, 3)).copy()))


def data_of(panel, role="past_covariates", **options):
    return make_data(panel, **{role: ["w"]}, **options)


def forecast(model, panel):
    return stgate.backtest(model, panel, start=str(panel["time"].values[-20]), every=10, levels=[0.5])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "kind",
    [GatedRNN, GatedTransformer, Ridge, GradientBoosting, lambda: STHSepNet(**SMALL_SEPNET)],
    ids=["rnn", "transformer", "ridge", "boosting", "sepnet"],
)
def test_a_covariate_that_never_changed_has_no_effect_when_it_does(kind, role):
    plain, strange = panel_with(), panel_with(after=1e6)
    model = fitted(kind(), data_of(plain, role), limit_train_batches=1, limit_val_batches=0)
    usual = forecast(model, plain)  # no warning
    with pytest.warns(ForecastWarning, match="`w`: 100 % .* always 4; .* bounded") as told:
        assert same(forecast(model, strange), usual)
    assert len(told) == 1


@pytest.mark.parametrize(("value", "counts_as"), [(3.0, 3.0), (-4.0, -4.0), (6.5, 5.0), (1e12, 5.0), (-9.0, -4.0)])
def test_values_beyond_the_range_by_its_width_count_as_there(value, counts_as):
    panel = panel_with()
    panel["w"][:CUT] = np.linspace(-1, 2, CUT)[:, None]
    model = built(GatedRNN(hidden=8), data_of(panel))
    batch = batch_of(model_data := data_of(panel_with(after=value)))
    bounded = model.predictor.bounded(batch)
    assert (bounded["past"][..., 1] == counts_as).all()
    assert torch.equal(bounded["past"][..., 0], batch["past"][..., 0])
    assert model_data.spec == model.spec


def test_gaps_stay_gaps_and_rounding_is_not_told():
    model = built(GatedRNN(hidden=8), data_of(panel_with(0.1, 0.1)))
    batch = batch_of(data_of(panel_with(0.1, np.float32(0.1) * (1 + 1e-7))))
    batch["past"][0, 0, 0, 1] = torch.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with evaluation_mode(model.predictor):
            kept = model.predictor.bounded(batch)["past"][..., 1]
    assert torch.isnan(kept[0, 0, 0])
    assert (kept[1:] == torch.tensor(0.1)).all()


def test_a_fit_warns_of_a_covariate_that_changes_only_later():
    for role in ROLES:
        with pytest.warns(FitWarning, match="`w`: is 0 throughout the training part and changes later"):
            built(GatedRNN(hidden=8), data_of(panel_with(0.0, 1.0), role))
    flag = panel_with(0.0, 0.0)
    flag["w"][5, 0] = 1.0  # at one node, once
    flag["w"][CUT:, 1] = 1.0
    built(GatedRNN(hidden=8), data_of(flag))  # no warning


def test_every_verb_warns_once_and_the_bounds_are_in_the_checkpoint(tmp_path):
    plain, strange = panel_with(), panel_with(after=-50.0)
    model = fitted(Ridge(), data_of(plain), limit_val_batches=0)
    model.save(tmp_path / "m.ckpt")
    loaded = stgate.load(tmp_path / "m.ckpt")
    start = str(strange["time"].values[-40])
    for act in (
        lambda: stgate.calibrate(loaded, data_of(strange)),
        lambda: stgate.recalibrate(loaded, strange, start=start),
        lambda: stgate.backtest(loaded, strange, start=start, levels=[0.5]),
        lambda: forecast(loaded, strange),
    ):
        with pytest.warns(ForecastWarning, match="`w`") as told:
            act()
        assert len([one for one in told if "`w`" in str(one.message)]) == 1


def test_a_forecaster_without_ranges_bounds_nothing(tmp_path):
    model = fitted(Ridge(), data_of(panel_with()), limit_val_batches=0)
    plain = model.predictor.to_plain()
    del plain["covariates"]  # as an earlier version wrote it
    model.predictor.network = None
    model.predictor.restore(plain)
    assert model.predictor.bounds is None
    assert model.predictor.bounded(batch := batch_of(data_of(panel_with()))) is batch


@pytest.mark.parametrize("kriging", [False, True])
def test_static_covariates_of_new_places_are_bounded_but_places_are_not(kriging):
    panel = field_panel(missing=0).assign_coords(elevation=("node", np.full(6, 20.0)))
    options = {"kriging": True, "transforms": "auto"} if kriging else {}
    model = built(small_field(**options), field_data(panel, static_covariates=["elevation"], context=24))
    elsewhere = panel.assign_coords(node=[*"uvwxyz"], lat=panel["lat"] + 5, lon=panel["lon"] + 5)
    high = elsewhere.assign_coords(elevation=("node", np.full(6, 3000.0)))
    usual = stgate.reconstruct(model, elsewhere, levels=[0.5])
    with pytest.warns(ForecastWarning, match="`elevation`: .* always 20"):
        assert np.array_equal(stgate.reconstruct(model, high, levels=[0.5])["y"], usual["y"])


def test_ranges_are_plain_and_places_have_none():
    data = field_data(field_panel(missing=0), covariates=["u"], static_covariates=["lat"])
    bounds = CovariateBounds.of(data.spec, data.statistics(), data.series.static)
    assert list(bounds.to_plain()) == ["u"]
    says(str(bounds.to_plain()), "[")
    assert not bounds.state_dict()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("row, told", [(CUT, True), (159, True), (None, False)])
@pytest.mark.parametrize("how", ["memory", "blocks", "mapped"])
def test_a_constant_that_changes_later_is_told_of_wherever_the_panel_is(tmp_path, how, role, row, told):
    panel = panel_with()
    if row is not None:
        panel["w"][row, 1] = 5.0
    stgate.io.write(panel, tmp_path / "p.zarr")
    options = {
        "memory": {},
        "blocks": {"max_memory": 0.003},
        "mapped": {"max_memory": 0.003, "memory_map": tmp_path / "m"},
    }
    data = data_of(tmp_path / "p.zarr", role, **options[how])
    assert how != "blocks" or isinstance(data.series, StoredSeries)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        built(GatedRNN(hidden=4, linear=False, transforms=None), data)
    assert ["`w`: is 4 throughout" in str(w.message) for w in caught if w.category is FitWarning] == [True] * told
