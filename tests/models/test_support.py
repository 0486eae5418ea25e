"""Values to which the likelihood gives no density, after the training part: refused before anything is fitted."""

import numpy as np
import pytest
import torch
from helpers import HORIZON, built, field_data, field_panel, fit, make_data, make_panel, refusal, says, small_field

import stgate
from stgate.distributions import LogNormal, NegativeBinomial, Normal, Power, StudentT, ZeroInflatedNegativeBinomial
from stgate.errors import RequestError
from stgate.models import GatedRNN

COUNTS = (NegativeBinomial(), ZeroInflatedNegativeBinomial())
ROWS = {"validation": 110, "calibration": 130, "test": 150}
"""A row of each part of 160."""


def panel_with(value=None, row=0, counts=False, steps=160):
    panel = make_panel(steps=steps)
    panel["y"] = panel["y"].fillna(9.0).clip(min=1).round() if counts else panel["y"].fillna(9.0).clip(min=0.1)
    if value is not None:
        panel["y"][row, 1] = value
    return panel


@pytest.mark.parametrize("part", ROWS)
@pytest.mark.parametrize(
    ("likelihood", "value"),
    [(LogNormal(), 0.0), (LogNormal(), -1.0), (LogNormal(shift=1.0), -0.5)]
    + [(family, value) for family in COUNTS for value in (-1.0, 0.5)],
    ids=lambda x: x if isinstance(x, float) else type(x).__name__,
)
def test_a_value_without_density_is_refused_with_its_part_time_and_node(likelihood, value, part):
    panel, model = panel_with(value, ROWS[part], counts=likelihood in COUNTS), GatedRNN(likelihood=likelihood)
    said = refusal(RequestError, model.adopt, make_data(panel))
    when = str(panel["time"].values[ROWS[part]])[:13]
    says(said, type(likelihood).__name__, f"`y` is {value:g} at {when}", "node b", f"{part} part", likelihood.takes)
    assert model.spec is None  # so that it can take other data


@pytest.mark.parametrize(
    ("likelihood", "value"),
    [(Normal(), -1.0), (StudentT(), 0.0), (LogNormal(shift=1.0), 0.0), (LogNormal(), np.nan)]
    + [(family, value) for family in COUNTS for value in (0.0, np.nan)],
    ids=lambda x: x if isinstance(x, float) else type(x).__name__,
)
def test_values_with_density_and_gaps_are_taken_in_every_part(likelihood, value):
    for row in ROWS.values():
        GatedRNN(likelihood=likelihood).adopt(make_data(panel_with(value, row, counts=likelihood in COUNTS)))


def test_of_members_transforms_stores_and_fields_too(tmp_path):
    bad = panel_with(-1.0, ROWS["test"], counts=True)
    members = stgate.data.WindowData(
        bad.expand_dims(member=2).copy(deep=True), targets="y", window=6, horizon=HORIZON, batch_size=16
    )
    stgate.write(bad, tmp_path / "p.zarr")
    stored = make_data(str(tmp_path / "p.zarr"), max_memory=0.02)
    for data in (members, stored):
        says(refusal(RequestError, GatedRNN(likelihood=NegativeBinomial()).adopt, data), "-1", "test part")
    power = GatedRNN(likelihood=LogNormal(), transforms=[Power(0.5)])
    says(refusal(RequestError, power.adopt, make_data(panel_with(0.0, ROWS["validation"]))), "(transformed)")
    places = field_panel(missing=0).round()
    places["y"][80, 2] = -3
    says(refusal(RequestError, small_field(likelihood=NegativeBinomial()).adopt, field_data(places)), "-3", "node c")


def test_a_fitted_forecaster_refuses_them_in_what_it_is_tested_and_calibrated_on(tmp_path):
    good, bad = panel_with(), panel_with(0.0, ROWS["calibration"])
    model = built(GatedRNN(hidden=8, likelihood=LogNormal()), make_data(good))
    for act in (model.adopt, lambda data: stgate.calibrate(model, data)):
        says(refusal(RequestError, act, make_data(bad)), "`y` is 0", "calibration part")
    said = refusal(RequestError, stgate.recalibrate, model, bad, start=str(good["time"].values[120]))
    says(said, "`y` is 0", "in the calibration")
    stgate.recalibrate(model, bad, start=str(good["time"].values[131]), levels=[0.5])  # it lies before the span
    forecast = stgate.forecast(
        model, bad, start=str(good["time"].values[140]), levels=[0.5]
    )  # as an input it is a number like any
    assert bool(forecast["y"].notnull().all())


def test_flags_of_values_are_those_of_a_finite_density():
    values = torch.tensor([-2.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    for likelihood in (LogNormal(), LogNormal(shift=0.25), *COUNTS, Normal(), StudentT()):
        raw = torch.zeros(6, 1, likelihood.parameters)
        density = likelihood(raw, torch.zeros(1), torch.ones(1)).log_prob(values[:, None])[:, 0]
        allowed = likelihood.allowed(values)
        assert torch.isfinite(density[allowed]).all()
        if likelihood.support == "positive":
            beyond = values + likelihood.shift <= 0
            assert not allowed[beyond].any()


def test_the_first_such_value_in_time_is_named_wherever_blocks_end(monkeypatch):
    monkeypatch.setattr("stgate.data.windows.PIECE", 40)  # some rows a block
    panel = panel_with(0.0, 141)
    panel["y"][120, 2] = 0
    said = refusal(RequestError, GatedRNN(likelihood=LogNormal()).adopt, make_data(panel))
    says(said, str(panel["time"].values[120])[:13], "node c")


@pytest.mark.parametrize("likelihood", COUNTS, ids=lambda x: type(x).__name__)
def test_counts_of_tens_of_millions_are_fitted_and_forecast(likelihood):
    panel = make_panel(steps=160, missing=0)
    panel["y"] = (panel["y"] * 1e6).round()
    model, data = GatedRNN(hidden=8, likelihood=likelihood), make_data(panel)
    fit(model, data, limit_train_batches=2)
    stgate.calibrate(model, data, levels=[0.5])
    forecast = stgate.forecast(model, panel, levels=[0.5])["y"]
    assert bool((forecast >= 0).all())
    assert float(forecast.max()) > 1e6
