"""Precisions of a trainer: what is fitted keeps the digits of times and scales, and forecasts."""

import pytest
import torch
from helpers import FEW, field_data, fitted, make_data, refusal, says, small_field

import stgate
from stgate.errors import FitWarning, RequestError
from stgate.models import GatedRNN, Ridge

KINDS = {
    "rnn": (lambda: GatedRNN(hidden=8, transforms=None), make_data),
    "ridge": (Ridge, make_data),
    "field": (small_field, field_data),
}


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_precision_that_converts_everything_is_told_and_not_used(kind, precision):
    make, data = KINDS[kind][0], KINDS[kind][1]()
    with pytest.warns(FitWarning, match=f"precision {precision}: .* 32-true is used"):
        model = fitted(make(), data, precision=precision, **FEW)
    plain = fitted(make(), data, **FEW)
    ours, theirs = model.state_dict(), plain.state_dict()
    assert all(torch.equal(ours[name], value) and ours[name].dtype == value.dtype for name, value in theirs.items())
    stgate.calibrate(model, data, levels=[0.5])
    assert bool(stgate.forecast(model, data.panel, levels=[0.5])["y"].notnull().all())


def test_mixed_precision_keeps_scales_and_types():
    data = make_data()
    mixed, plain = (fitted(KINDS["rnn"][0](), data, precision=kind, **FEW) for kind in ("bf16-mixed", "32-true"))
    assert torch.equal(mixed.predictor.scaler.center, plain.predictor.scaler.center)
    assert {name: value.dtype for name, value in mixed.state_dict().items()} == {
        name: value.dtype for name, value in plain.state_dict().items()
    }
    assert bool(stgate.forecast(mixed, data.panel)["y"].notnull().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_forecaster_that_was_converted_by_hand_is_refused(dtype):
    data = make_data()
    model = fitted(KINDS["rnn"][0](), data, **FEW)
    model.to(dtype)
    for act in (lambda: stgate.forecast(model, data.panel), lambda: stgate.calibrate(model, data)):
        says(refusal(RequestError, act), "GatedRNN", f"converted to {str(dtype)[6:]}", "load its checkpoint again")
